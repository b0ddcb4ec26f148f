/** One cluster lives through scene after scene: each begins with what {@link restore} brings back, however the one before it ended. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { openScene, restore, type Mode, type Scene } from './scene.ts';

type Play = (t: TestContext, scene: Scene) => Promise<void>;

/** Part of the names of the scenes that are played; all of them without it. */
const wanted = process.env['WEIR_SCENE'] ?? '';

/** @param scenes by what they are called */
export function life(mode: Mode, scenes: Readonly<Record<string, Play>>): void {
  test(`three nodes that have their identities in ${mode.name}`, { timeout: 900_000 }, async (t) => {
    await using stack = new AsyncDisposableStack();
    const scene = await openScene(mode);
    stack.use(scene.cluster);
    const chosen = Object.entries(scenes).filter(([what]) => what.includes(wanted));
    assert.notEqual(chosen.length, 0, `no scene is called ${wanted}`);
    for (const [what, play] of chosen) {
      await t.test(what, async (t2) => {
        await restore(scene);
        await play(t2, scene);
      });
    }
  });
}

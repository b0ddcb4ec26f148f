import { life } from './life.ts';
import { permissions } from './permissions.ts';
import { MODES } from './scene.ts';
import { sysdump } from './sysdump.ts';

life(MODES.slices, {
  'agents and the operator do with what their manifests give them': permissions,
  'a bundle for support has what is promised, and no secret': sysdump,
});

import { announcements } from './announcements.ts';
import { delay } from './delay.ts';
import { faults } from './faults.ts';
import { labels } from './labels.ts';
import { life } from './life.ts';
import { policies } from './policies.ts';
import { MODES } from './scene.ts';
import { validity } from './validity.ts';

life(MODES.customResources, {
  'what is announced': announcements,
  'a policy change reaches all nodes': delay,
  'policies of three nodes': policies,
  'policies that are wrong': validity,
  'labels that change': labels,
  'parts are killed during traffic': faults,
});

import type { Part } from '../part.ts';
import type { Form, Noun } from '../world.ts';
import { bird, cat, dog, fish } from './animals.ts';
import { chair, clock, cup, lamp, teapot } from './household.ts';
import { flower, house, tree } from './outdoors.ts';
import { person } from './person.ts';
import { boat, car } from './vehicles.ts';
import { backpack, hat, shoe } from './wearables.ts';

/** How each noun is drawn, facing right. */
export const drawNoun: { readonly [N in Noun]: (form: Form) => readonly Part[] } = {
  backpack,
  bird,
  boat,
  car,
  cat,
  chair,
  clock,
  cup,
  dog,
  fish,
  flower,
  hat,
  house,
  lamp,
  person,
  shoe,
  teapot,
  tree,
};

import type { Answers, Critic } from '../judges/critic.ts';
import { type JudgedScene, judgedScene } from '../judges/judge-pictures.ts';
import { QUESTION_NAMES } from '../judges/picture-judge.ts';
import { CONTROL_MAPS } from '../renderer/control-maps.ts';
import { renderScene } from '../renderer/render-scene.ts';
import { describeScene } from '../renderer/scene.ts';
import { controlScore, mean, SCORE_NAMES } from './control-score.ts';
import { judged, type Measure } from './measure.ts';

/** The judges themselves, on drawn pictures that they have not learned from. */
export async function judgeMeasures(critic: Critic, samples: number): Promise<Measure[]> {
  return [...(await answerMeasures(critic, samples)), ...(await readerMeasures(critic, Math.ceil(samples / 4)))];
}

async function answerMeasures(critic: Critic, samples: number): Promise<Measure[]> {
  const results: { expected: JudgedScene['answers']; found: Answers }[] = [];
  for (let seed = 0; seed < samples; seed++) {
    const { scene, answers } = judgedScene(seed);
    const { pixels } = await renderScene(scene);
    results.push({ expected: answers, found: await critic.answers(pixels) });
  }
  return QUESTION_NAMES.map((question) => {
    const asked = results.filter(({ expected }) => expected[question] !== undefined);
    const right = asked.filter(({ expected, found }) => expected[question] === found[question]);
    return judged(`judge: ${question} of drawn pictures`, {
      seen: right.length / asked.length,
      goal: 0.97,
      samples: asked.length,
    });
  });
}

/** What a perfect picture would get: the ceiling of the control measures. */
async function readerMeasures(critic: Critic, samples: number): Promise<Measure[]> {
  const measures: Measure[] = [];
  for (const kind of CONTROL_MAPS) {
    const scores = [];
    for (let seed = 0; seed < samples; seed++) {
      const scene = describeScene(seed, kind === 'pose' ? { noun: 'person' } : {});
      const { pixels } = await renderScene(scene);
      scores.push(await controlScore(kind, { pixels, scene, critic }));
    }
    const seen = mean(scores);
    const text = `${seen.toFixed(3)} (${SCORE_NAMES[kind]})`;
    measures.push({
      name: `reader: ${kind} of drawn pictures`,
      goal: 'the ceiling of control',
      seen: text,
      samples,
      verdict: 'reported',
    } as const);
  }
  return measures;
}

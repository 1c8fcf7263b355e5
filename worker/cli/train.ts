import { join } from 'node:path';
import { Presets, SingleBar } from 'cli-progress';
import { loadConfig } from '../../shared/config.ts';
import { openModelFolder } from '../diffusion/model-folder.ts';
import { resolveModel } from '../models/registry.ts';
import { type TrainRequest, train } from '../pipelines/train.ts';
import { chooseDevice } from '../runtime/device.ts';
import { randomSeed } from '../runtime/random.ts';
import { completeSettings, traitsOf } from '../training/settings.ts';
import { runCommand } from './run-command.ts';
import { parseTrainFlags } from './train-flags.ts';

async function main(args: string[]): Promise<void> {
  const flags = parseTrainFlags(args);
  const config = loadConfig();
  const folder = await resolveModel(flags.model, config);
  const model = await openModelFolder(folder);
  const settings = completeSettings(flags.settings, traitsOf(model));
  const { device, reason } = await chooseDevice(flags.device);
  const seed = settings.seed ?? randomSeed();
  console.error(`Model ${folder}\nDevice ${reason}\nSeed ${seed}`);
  const result = await trainWithProgress({
    ...flags,
    model,
    settings,
    seed,
    classImageCache: join(config.dataDir, 'class-images'),
    session: { device, ...(flags.threads !== undefined && { threads: flags.threads }) },
    onMessage: (message) => console.error(message),
  });
  console.log(result);
}

async function trainWithProgress(request: TrainRequest): Promise<string> {
  const format =
    'Learning {bar} {value}/{total} | loss {loss} | rate {rate} | {secondsPerStep} s per step | {eta_formatted} left';
  const bar = new SingleBar({ format, noTTYOutput: true, notTTYSchedule: 5000, hideCursor: true }, Presets.shades_grey);
  const loop = train(request);
  let isStarted = false;
  try {
    for (let next = await loop.next(); ; next = await loop.next()) {
      if (next.done) return next.value;
      const { step, maxTrainSteps, reports, learningRate, secondsPerStep } = next.value;
      const loss = reports.reduce((sum, report) => sum + report.loss, 0) / reports.length;
      const shown = {
        loss: loss.toFixed(4),
        rate: learningRate.toExponential(1),
        secondsPerStep: secondsPerStep.toFixed(3),
      };
      if (!isStarted) bar.start(maxTrainSteps, step, shown);
      isStarted = true;
      bar.update(step, shown);
    }
  } finally {
    if (isStarted) bar.stop();
  }
}

await runCommand(main);

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp, { type Sharp } from 'sharp';
import { z } from 'zod';
import { SIDE } from '../renderer/world.ts';
import type { Exhibit, Findings, Measure } from './measure.ts';

/** Parts of the evaluation in the order of the page. */
export const PARTS = [
  'judges',
  'adherence',
  'eyes',
  'control',
  'dreambooth',
  'prior',
  'inversion',
  'nouns',
  'speed',
] as const;
export type EvaluationPart = (typeof PARTS)[number];

const partSchema = z.object({
  date: z.string(),
  about: z.string().optional(),
  measures: z.array(
    z.object({
      name: z.string(),
      goal: z.string(),
      seen: z.string(),
      samples: z.number(),
      verdict: z.enum(['met', 'missed', 'reported', 'not measured']),
    }),
  ),
  exhibits: z.array(z.object({ title: z.string(), file: z.string() })),
});
type SavedPart = z.infer<typeof partSchema>;

/** Keeps a part's findings beside the page, so that parts can be measured one at a time. */
export async function savePart(folder: string, part: EvaluationPart, findings: Findings): Promise<void> {
  const { about, measures, exhibits } = findings;
  await mkdir(folder, { recursive: true });
  const saved: SavedPart = {
    date: new Date().toISOString().slice(0, 10),
    about,
    measures: [...measures],
    exhibits: [],
  };
  for (const [index, exhibit] of exhibits.entries()) {
    const file = `${part}-${index + 1}.webp`;
    await saveExhibit(join(folder, file), exhibit);
    saved.exhibits.push({ title: exhibit.title, file });
  }
  await writeFile(join(folder, `${part}.json`), `${JSON.stringify(saved, undefined, 2)}\n`);
}

const GAP = 4;
/** Of WebP: the pictures are drawings, and the page is read in a browser. */
const QUALITY = 82;

async function saveExhibit(file: string, exhibit: Exhibit): Promise<void> {
  await (await contactSheet(exhibit)).webp({ quality: QUALITY }).toFile(file);
}

/** The pictures of an exhibit side by side. */
export async function contactSheet({ pictures, columns }: Pick<Exhibit, 'pictures' | 'columns'>): Promise<Sharp> {
  const rows = Math.ceil(pictures.length / columns);
  const step = SIDE + GAP;
  const tiles = pictures.map((pixels, index) => ({
    input: Buffer.from(pixels),
    raw: { width: SIDE, height: SIDE, channels: 3 as const },
    left: (index % columns) * step,
    top: Math.floor(index / columns) * step,
  }));
  const size = {
    width: Math.min(columns, Math.max(1, pictures.length)) * step - GAP,
    height: Math.max(1, rows) * step - GAP,
  };
  const sheet = await sharp({ create: { ...size, channels: 3, background: '#ffffff' } })
    .composite(tiles)
    .png()
    .toBuffer();
  return sharp(sheet);
}

/** Writes the page from every part that has been measured. */
export async function writePage(file: string, folder: string, names: { readonly images: string }): Promise<void> {
  const files = new Set(await readdir(folder));
  const parts: { part: EvaluationPart; saved: SavedPart }[] = [];
  for (const part of PARTS) {
    if (!files.has(`${part}.json`)) continue;
    parts.push({ part, saved: partSchema.parse(JSON.parse(await readFile(join(folder, `${part}.json`), 'utf8'))) });
  }
  const measures = parts.flatMap(({ saved }) => saved.measures);
  const absent = PARTS.filter((part) => !parts.some((one) => one.part === part));
  await writeFile(
    file,
    [INTRODUCTION, ...misses(measures, absent), ...parts.flatMap((one) => section(one, names.images)), PUBLISHED]
      .join('\n\n')
      .concat('\n'),
  );
}

const INTRODUCTION = `# How good the pocket family is

Written by \`npm run pocket:evaluate\`. Judges are small networks that our own trainer taught on drawn pictures alone; the first
table says how well they see. Scenes, prompts and maps of the measures are none that the family learned from.`;

function misses(measures: readonly Measure[], absent: readonly EvaluationPart[]): string[] {
  const listed = (verdict: Measure['verdict']) =>
    measures.filter((one) => one.verdict === verdict).map(({ name, seen, goal }) => `- ${name}: ${seen}, goal ${goal}`);
  const missed = listed('missed');
  const unmeasured = [...listed('not measured'), ...absent.map((part) => `- the part "${part}" has not been measured`)];
  return [
    missed.length === 0 ? 'No goal was missed.' : `Missed:\n\n${missed.join('\n')}`,
    ...(unmeasured.length === 0 ? [] : [`Not measured:\n\n${unmeasured.join('\n')}`]),
  ];
}

const TITLES: { readonly [P in EvaluationPart]: string } = {
  judges: 'The judges',
  adherence: 'Pictures from prompts',
  eyes: 'Pictures as a person sees them',
  control: 'Control',
  dreambooth: 'Lessons: DreamBooth LoRA',
  prior: 'Lessons: prior preservation',
  inversion: 'Lessons: textual inversion',
  nouns: 'Lessons: the class noun',
  speed: 'Speed',
};

function section({ part, saved }: { part: EvaluationPart; saved: SavedPart }, images: string): string[] {
  const rows = saved.measures.map(
    ({ name, goal, seen, samples, verdict }) => `| ${name} | ${goal} | ${seen} | ${samples} | ${verdict} |`,
  );
  const table = ['| measure | goal | seen | samples | |', '|---|---|---|---|---|', ...rows].join('\n');
  const pictures = saved.exhibits.map(({ title, file }) => `${title}:\n\n![${title}](${images}/${file})`);
  const when = `Measured on ${saved.date}.${saved.about === undefined ? '' : ` ${saved.about}`}`;
  return [`## ${TITLES[part]}`, when, table, ...pictures];
}

/** Figures of the papers, on their own worlds: nothing here compares with them but the order. */
const PUBLISHED = `## Published figures beside them

Other models, other pictures, other measures: only the order of methods can be compared.

| paper | figures |
|---|---|
| DreamBooth, table 1 (30 subjects, DINO / CLIP-I / CLIP-T) | real images 0.774 / 0.885; DreamBooth on Stable Diffusion 0.668 / 0.803 / 0.305; textual inversion 0.569 / 0.780 / 0.255 |
| DreamBooth, table 3 (prior preservation: PRES lower, DIV higher is better) | with 0.493 / 0.391; without 0.664 / 0.371 |
| DreamBooth, table 4 (class noun, DINO / CLIP-I) | correct 0.744 / 0.853; none 0.303 / 0.607; wrong 0.454 / 0.728 |`;

/** Says what is wrong with a set-up and exactly how to cure it; ends with 1 if anything is. */
import type { Finding } from '../../bot/finding.ts';
import { loadConfig } from '../../shared/config.ts';
import { UserError } from '../../shared/errors.ts';
import { CHECKS } from './checks.ts';

function print({ subject, isFine, text, fix }: Finding): void {
  console.log(`${isFine ? 'ok  ' : 'BAD '} ${subject}: ${text}`);
  if (fix !== undefined) console.log(`     -> ${fix}`);
}

async function main(): Promise<boolean> {
  let isFine = true;
  const config = loadConfig();
  for (const check of CHECKS) {
    for (const finding of await check(config)) {
      print(finding);
      isFine &&= finding.isFine;
    }
  }
  return isFine;
}

main().then(
  (isFine) => process.exit(isFine ? 0 : 1),
  (error: unknown) => {
    console.error(error instanceof UserError ? error.message : error);
    process.exit(1);
  },
);

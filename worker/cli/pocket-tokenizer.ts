import { pocketVocabulary, writeTokenizer } from '../pocket/tokenizer/write-tokenizer.ts';

const FOLDER = 'worker/pocket/model/tokenizer';

const vocabulary = pocketVocabulary();
await writeTokenizer(FOLDER, vocabulary);
console.log(`Wrote ${Object.keys(vocabulary.vocab).length} tokens to ${FOLDER}.`);

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: `${import.meta.dirname}/..`,
    include: ['tests/**/*.test.ts'],
    // Tests that start the command line in a process of its own take seconds each on two cores.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});

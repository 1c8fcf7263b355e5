declare module 's3rver' {
  import type { AddressInfo } from 'node:net';

  /** The parts that tests use of an S3 server in memory and on disk. */
  export default class S3rver {
    constructor(options: {
      port: number;
      silent: boolean;
      directory: string;
      configureBuckets: readonly { name: string; configs: readonly string[] }[];
    });
    run(): Promise<AddressInfo>;
    close(): Promise<void>;
  }
}

// The server that all tests of this folder share, and what starts others.
import { Server } from '../support/server.mjs';

export * from '../support/server.mjs';
export const server = await Server.start('--alias', 'gpt-*', '--alias', 'claude=nacelle-demo', '--max-body-bytes', '1000000', '--header-timeout', '0.5');
export const lasting = ['--context', '16384'];  // of a server where an endless answer takes many seconds

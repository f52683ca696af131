// All tests of the web page, one after the other against a few real servers.
import { after } from 'node:test';
import { closeBrowser } from './browser.mjs';
import './files.mjs';
import './chat.mjs';
import './operate.mjs';
import './access.mjs';

after(closeBrowser);

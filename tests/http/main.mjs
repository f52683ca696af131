// All tests, one after the other in one process, against one server (some start others of their own).
import { after } from 'node:test';
import { server } from './harness.mjs';
import './chat.mjs';
import './tools.mjs';
import './completions.mjs';
import './scoring.mjs';
import './constraints.mjs';
import './responses.mjs';
import './background.mjs';
import './conversations.mjs';
import './messages.mjs';
import './ollama.mjs';
import './templates.mjs';
import './takeoff.mjs';
import './embeddings.mjs';
import './errors.mjs';
import './connections.mjs';
import './devices.mjs';
import './isolation.mjs';
import './keep_alive.mjs';
import './metrics.mjs';
import './adapters.mjs';
import './readers.mjs';
import './operating.mjs';
import './mistakes.mjs';
import './pull.mjs';

after(() => server.stop());

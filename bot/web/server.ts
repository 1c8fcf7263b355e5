/** What the page asks for over HTTP. */
import { getConnInfo } from '@hono/node-server/conninfo';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { HTTPException } from 'hono/http-exception';
import { streamSSE } from 'hono/streaming';
import { z } from 'zod';
import { COMPLETION_SOURCES, RESULT_ACTIONS } from '../../commands/command.ts';
import { COMMANDS } from '../../commands/index.ts';
import { UserError } from '../../shared/errors.ts';
import { blobRefSchema } from '../../shared/jobs.ts';
import type { PageFile } from './bundle.ts';
import type { Conversation } from './conversation.ts';
import { sameOrigin, securityHeaders } from './guard.ts';
import { type People, SESSION_DAYS, type Session } from './people.ts';
import type { WirePerson, WireState } from './wire.ts';

export interface ServerParts {
  readonly files: ReadonlyMap<string, PageFile>;
  readonly people: People;
  readonly conversation: Conversation;
  readonly maxUploadBytes: number;
  readonly isLocalOnly: boolean;
  readonly onError: (error: unknown) => void;
}

type Variables = { Variables: { person: WirePerson; session: Session } };
const COOKIE = 'sketchbooth';

/** The page's routes: everything under /api but signing in is for people who have said who they are. */
export function webServer(parts: ServerParts): Hono<Variables> {
  const app = new Hono<Variables>();
  app.use(securityHeaders, sameOrigin(parts));
  app.onError((error, c) => answerError(error, c, parts));
  for (const [path, file] of parts.files) app.get(path, (c) => answerFile(c, file));
  app.use('/api/uploads', bodyLimit({ maxSize: parts.maxUploadBytes, onError: tooLarge }));
  app.use('/api/*', async (c, next) => {
    // 256 KiB holds the longest prompt and form many times over.
    const limit = bodyLimit({
      maxSize: c.req.path === '/api/uploads' ? parts.maxUploadBytes : 2 ** 18,
      onError: tooLarge,
    });
    return limit(c, next);
  });
  addSigningIn(app, parts);
  const signedIn = requirePerson(parts.people);
  app.use('/api/*', signedIn);
  app.use('/blobs/*', signedIn);
  addReading(app, parts);
  addSpeaking(app, parts);
  return app;
}

function answerFile(c: Context, file: PageFile): Response {
  const headers = { 'content-type': file.type, etag: file.etag, 'cache-control': 'no-cache' };
  if (c.req.header('if-none-match') === file.etag) return c.body(null, 304, headers);
  return c.body(file.text, 200, headers);
}

function answerError(error: Error, c: Context, { onError }: ServerParts): Response {
  if (error instanceof UserError) return c.json({ error: error.message }, 400);
  if (error instanceof z.ZodError) return c.json({ error: `Cannot read the request: ${z.prettifyError(error)}` }, 400);
  if (error instanceof HTTPException) return c.json({ error: error.message }, error.status);
  onError(error);
  return c.json({ error: 'Something went wrong here; the log of Sketchbooth says what' }, 500);
}

function tooLarge(c: Context): Response {
  return c.json({ error: 'Cannot take the file: it is larger than this Sketchbooth allows' }, 413);
}

function addSigningIn(app: Hono<Variables>, parts: ServerParts): void {
  const { people } = parts;
  const setSession = (c: Context, token: string) =>
    setCookie(c, COOKIE, token, { httpOnly: true, sameSite: 'Strict', path: '/', maxAge: SESSION_DAYS * 24 * 60 * 60 });
  app.get('/api/state', async (c) => c.json(await stateFor(await people.session(getCookie(c, COOKIE)), parts)));
  app.post('/api/session', async (c) => {
    const { password } = z.object({ password: z.string().max(1000) }).parse(await readJson(c));
    setSession(c, await people.signIn(password, getConnInfo(c).remote.address ?? 'unknown'));
    return c.json({});
  });
  app.post('/api/me', async (c) => {
    const { name } = z.object({ name: z.string().max(200) }).parse(await readJson(c));
    const session = await people.session(getCookie(c, COOKIE));
    if (!session) throw new HTTPException(401, { message: 'Sign in first' });
    await people.name(session, name);
    return c.json({});
  });
  app.delete('/api/session', async (c) => {
    const session = await people.session(getCookie(c, COOKIE));
    if (session) await people.signOut(session);
    deleteCookie(c, COOKIE, { path: '/' });
    return c.json({});
  });
}

async function stateFor(session: Session | undefined, parts: ServerParts): Promise<WireState> {
  if (!session) return { needs: parts.people.hasPassword ? 'password' : 'name' };
  const { person } = session;
  if (!person) return { needs: 'name' };
  return {
    needs: 'nothing',
    person,
    channels: await parts.conversation.channels(person),
    commands: COMMANDS.map(({ act: _, ...command }) => command),
    maxUploadBytes: parts.maxUploadBytes,
    hasPassword: parts.people.hasPassword,
  };
}

function requirePerson(people: People) {
  return async (c: Context<Variables>, next: () => Promise<void>) => {
    const session = await people.session(getCookie(c, COOKIE));
    if (!session?.person) throw new HTTPException(401, { message: 'Say who you are first' });
    c.set('person', session.person);
    await next();
  };
}

function addReading(app: Hono<Variables>, { conversation }: ServerParts): void {
  app.get('/api/channels/:channel/messages', async (c) => {
    const before = z.coerce.number().int().positive().optional().parse(c.req.query('before'));
    return c.json(await conversation.history(c.get('person'), c.req.param('channel'), before));
  });
  app.get('/api/events', (c) => {
    const person = c.get('person');
    const since = z.coerce
      .number()
      .int()
      .nonnegative()
      .optional()
      .parse(c.req.header('last-event-id') ?? c.req.query('since'));
    return streamSSE(c, async (stream) => {
      for await (const message of conversation.changes(person, since, stream)) {
        await stream.writeSSE(
          message === 'pulse'
            ? { event: 'pulse', data: '' }
            : { id: String(message.revision), data: JSON.stringify(message) },
        );
      }
    });
  });
  app.get('/api/completions', async (c) => {
    const source = z.enum(COMPLETION_SOURCES).parse(c.req.query('source'));
    const typed = (c.req.query('typed') ?? '').slice(0, 200);
    return c.json(await conversation.complete(c.get('person'), c.req.query('channel') ?? '', { source, typed }));
  });
  app.get('/blobs/:hash', async (c) => {
    const picture = await conversation.picture(
      z
        .string()
        .regex(/^[0-9a-f]{64}$/)
        .parse(c.req.param('hash')),
    );
    if (!picture) return c.json({ error: 'There is no such picture' }, 404);
    return c.body(picture.bytes, 200, {
      'content-type': picture.type,
      'cache-control': 'private, max-age=31536000, immutable',
    });
  });
}

const id = z.string().regex(/^[\w-]{8,64}$/);
const optionValue = z.union([z.string().max(10_000), z.number(), z.boolean()]);
const optionName = z.string().max(32);

const invocationSchema = z.object({
  id,
  command: z.string().max(32),
  options: z.record(optionName, optionValue),
  images: z.record(optionName, z.array(blobRefSchema).max(10)),
  parentJobId: z.string().max(100).optional(),
});

const pressSchema = z.object({
  id,
  action: z.enum(RESULT_ACTIONS),
  jobId: z.string().max(100),
  argument: z.int().optional(),
});

function addSpeaking(app: Hono<Variables>, { conversation }: ServerParts): void {
  app.post('/api/channels', async (c) => {
    const { name } = z.object({ name: z.string().max(100) }).parse(await readJson(c));
    return c.json(await conversation.addChannel(name));
  });
  app.post('/api/channels/:channel/messages', async (c) => {
    const said = z.object({ id, text: z.string().trim().min(1).max(4000) }).parse(await readJson(c));
    await conversation.say(c.get('person'), c.req.param('channel'), said);
    return c.json({});
  });
  app.post('/api/channels/:channel/invocations', async (c) => {
    const asked = invocationSchema.parse(await readJson(c));
    const { parentJobId, ...rest } = asked;
    const invocation = parentJobId === undefined ? rest : { ...rest, parentJobId };
    return c.json(await conversation.invoke(c.get('person'), c.req.param('channel'), invocation));
  });
  app.post('/api/channels/:channel/presses', async (c) => {
    const press = pressSchema.parse(await readJson(c));
    return c.json(await conversation.press(c.get('person'), c.req.param('channel'), press));
  });
  app.post('/api/messages/:message/reactions', async (c) => {
    const reaction = z.object({ id, emoji: z.string().min(1).max(16) }).parse(await readJson(c));
    return c.json(await conversation.react(c.get('person'), c.req.param('message'), reaction));
  });
  app.post('/api/uploads', async (c) => {
    const bytes = new Uint8Array(await c.req.arrayBuffer());
    const name = decodeURIComponent(c.req.header('x-file-name') ?? 'picture').slice(0, 200);
    return c.json(await conversation.keepUpload(bytes, name));
  });
}

async function readJson(c: Context): Promise<unknown> {
  try {
    return await c.req.json();
  } catch (cause) {
    throw new UserError('Cannot read the request: it must be JSON', { cause });
  }
}

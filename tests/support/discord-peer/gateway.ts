/** The gateway: one session per shard, events numbered and kept so that a resumed session misses none. */
import type { Server } from 'node:http';
import { ChannelType, GatewayDispatchEvents, GatewayIntentBits, GatewayOpcodes } from 'discord.js';
import { type WebSocket, WebSocketServer } from 'ws';
import { apiChannel, apiMember, apiUser, type World } from './world.ts';

interface Session {
  readonly id: string;
  readonly intents: number;
  readonly shard: readonly [number, number];
  readonly sent: { readonly op: number; readonly t: string; readonly s: number; readonly d: unknown }[];
  socket: WebSocket | undefined;
}

interface Incoming {
  readonly op: GatewayOpcodes;
  readonly d: {
    readonly token?: string;
    readonly intents?: number;
    readonly shard?: readonly [number, number];
    readonly session_id?: string;
    readonly seq?: number;
  };
}

const PRIVILEGED = GatewayIntentBits.GuildMembers | GatewayIntentBits.GuildPresences | GatewayIntentBits.MessageContent;
const HEARTBEAT_INTERVAL_MS = 41_250;

export interface Gateway {
  readonly identifies: number;
  readonly resumes: number;
  /** Intents of the newest session. */
  readonly intents: number;
  isConnected(): boolean;
  /** Sends an event to the shard of the guild, or of direct messages, if its intents include the event. */
  dispatch(event: string, data: unknown, to: { isInGuild: boolean; intent?: number }): void;
  /** Closes every connection as Discord does now and then; 4000 asks to resume. */
  disconnect(code: number): void;
  close(): Promise<void>;
}

export function createGateway(world: World, server: Server): Gateway {
  const sockets = new WebSocketServer({ server, path: '/gateway' });
  const sessions = new Map<string, Session>();
  const counts = { identifies: 0, resumes: 0, intents: 0 };

  sockets.on('connection', (socket) => {
    send(socket, { op: GatewayOpcodes.Hello, d: { heartbeat_interval: HEARTBEAT_INTERVAL_MS } });
    socket.on('message', (bytes) => receive(socket, JSON.parse(String(bytes)) as Incoming));
    socket.on('close', () => {
      for (const session of sessions.values()) if (session.socket === socket) session.socket = undefined;
    });
  });

  function receive(socket: WebSocket, { op, d }: Incoming): void {
    if (op === GatewayOpcodes.Heartbeat) send(socket, { op: GatewayOpcodes.HeartbeatAck });
    if (op === GatewayOpcodes.Identify) identify(socket, d);
    if (op === GatewayOpcodes.Resume) resume(socket, d);
  }

  function identify(socket: WebSocket, { token, intents = 0, shard = [0, 1] }: Incoming['d']): void {
    if (token !== world.token) {
      socket.close(4004, 'Authentication failed.');
      return;
    }
    if ((intents & PRIVILEGED) !== 0) {
      socket.close(4014, 'Disallowed intent(s).');
      return;
    }
    counts.identifies += 1;
    counts.intents = intents;
    const session: Session = { id: world.newId(), intents, shard, sent: [], socket };
    sessions.set(session.id, session);
    emit(session, GatewayDispatchEvents.Ready, ready(session));
    if (isOfShard(world.guild.id, session)) emit(session, GatewayDispatchEvents.GuildCreate, guildCreate(world));
  }

  function ready(session: Session) {
    return {
      v: 10,
      user: { ...apiUser(world.bot), verified: true, mfa_enabled: true, flags: 0 },
      guilds: isOfShard(world.guild.id, session) ? [{ id: world.guild.id, unavailable: true }] : [],
      session_id: session.id,
      resume_gateway_url: `${world.origin.replace('http', 'ws')}/gateway`,
      shard: session.shard,
      application: { id: world.applicationId, flags: 0 },
    };
  }

  function resume(socket: WebSocket, { token, session_id, seq = 0 }: Incoming['d']): void {
    const session = sessions.get(session_id ?? '');
    if (token !== world.token || session === undefined) {
      send(socket, { op: GatewayOpcodes.InvalidSession, d: false });
      return;
    }
    counts.resumes += 1;
    session.socket = socket;
    for (const missed of session.sent.filter((event) => event.s > seq)) send(socket, missed);
    emit(session, GatewayDispatchEvents.Resumed, {});
  }

  function emit(session: Session, t: string, d: unknown): void {
    const event = { op: GatewayOpcodes.Dispatch, t, s: session.sent.length + 1, d };
    session.sent.push(event);
    if (session.socket !== undefined) send(session.socket, event);
  }

  function send(socket: WebSocket, payload: unknown): void {
    if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(payload));
  }

  return {
    get identifies() {
      return counts.identifies;
    },
    get resumes() {
      return counts.resumes;
    },
    get intents() {
      return counts.intents;
    },
    isConnected: () => [...sessions.values()].some((session) => session.socket !== undefined),
    dispatch(event, data, { isInGuild, intent = 0 }) {
      for (const session of sessions.values()) {
        const isHere = isInGuild ? isOfShard(world.guild.id, session) : session.shard[0] === 0;
        // A session that was left behind for a new one keeps nothing.
        const isNewest = [...sessions.values()].findLast((one) => one.shard[0] === session.shard[0]) === session;
        if (isHere && isNewest && (session.intents & intent) === intent) emit(session, event, data);
      }
    },
    disconnect(code) {
      for (const socket of sockets.clients) socket.close(code);
    },
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      await new Promise((resolve) => sockets.close(resolve));
    },
  };
}

function isOfShard(guildId: string, { shard: [shard, count] }: Session): boolean {
  return Number((BigInt(guildId) >> 22n) % BigInt(count)) === shard;
}

function guildCreate(world: World) {
  const channels = [...world.channels.values()].filter((channel) => channel.guildId === world.guild.id);
  return {
    ...world.guild,
    owner_id: world.guild.ownerId,
    joined_at: '2024-01-01T00:00:00.000000+00:00',
    large: false,
    unavailable: false,
    member_count: world.members.size,
    premium_tier: 0,
    preferred_locale: 'en-US',
    features: [],
    emojis: [],
    stickers: [],
    voice_states: [],
    presences: [],
    stage_instances: [],
    guild_scheduled_events: [],
    soundboard_sounds: [],
    members: [apiMember(world, world.bot)],
    channels: channels.filter((channel) => channel.type === ChannelType.GuildText).map(apiChannel),
    threads: channels.filter((channel) => channel.type === ChannelType.PublicThread).map(apiChannel),
  };
}

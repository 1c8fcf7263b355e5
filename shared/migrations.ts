/** How the tables came to be; an entry that has been released is never changed, the next change is a further entry. */
export const MIGRATIONS: readonly string[] = [
  `
  create table jobs (
    id text primary key,
    kind text not null,
    job jsonb not null,
    state text not null default 'queued',
    reply_to jsonb not null,
    platform text not null,
    owner_id text not null,
    server_id text,
    channel_id text not null,
    parent_job_id text,
    note text,
    -- Start-time fair queueing: jobs of a lane start in the order of their tags, in expected seconds.
    tag double precision not null,
    cost_seconds double precision not null,
    is_cancel_requested boolean not null default false,
    worker_deaths integer not null default 0,
    progress jsonb,
    result jsonb,
    error text,
    created_at timestamptz not null default now(),
    enqueued_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    -- The acknowledgement that progress is edited into, and whether it shows the end.
    ack_message jsonb,
    is_ack_settled boolean not null default false,
    steering jsonb
  );
  create index jobs_unfinished on jobs (kind, tag) where state in ('queued', 'running');
  create index jobs_not_enqueued on jobs (created_at) where state = 'queued' and enqueued_at is null;
  create index jobs_of_owner on jobs (platform, owner_id, created_at desc);
  create index jobs_of_server on jobs (platform, server_id) where state in ('queued', 'running');
  create index jobs_unsettled on jobs (finished_at)
    where finished_at is not null and ack_message is not null and not is_ack_settled;

  create table posts (
    job_id text primary key references jobs (id) on delete cascade,
    platform text not null,
    state text not null default 'pending',
    message jsonb,
    attempts integer not null default 0,
    next_attempt_at timestamptz not null default now(),
    claimed_by text,
    claimed_until timestamptz,
    error text,
    created_at timestamptz not null default now(),
    posted_at timestamptz
  );
  create index posts_waiting on posts (next_attempt_at) where state in ('pending', 'posting');

  create table messages (
    platform text not null,
    channel_id text not null,
    message_id text not null,
    job_id text not null references jobs (id) on delete cascade,
    primary key (platform, channel_id, message_id)
  );

  -- Deliveries of the platforms that were carried out, with what was answered.
  create table invocations (
    id text primary key,
    outcome jsonb not null,
    received_at timestamptz not null default now()
  );
  create index invocations_received on invocations (received_at);

  create table fair_lanes (lane text primary key, virtual_time double precision not null default 0);
  create table fair_shares (
    lane text not null,
    owner text not null,
    last_tag double precision not null,
    primary key (lane, owner)
  );

  create table concepts (
    id text primary key,
    name text not null,
    owner jsonb not null,
    platform text not null,
    owner_id text not null,
    server_id text,
    channel_id text not null,
    shared_with text not null default 'nobody',
    class_noun text not null,
    model text not null,
    method text not null,
    applied_as jsonb,
    samples jsonb,
    photos jsonb,
    consent jsonb,
    created_at timestamptz not null default now(),
    forgotten_at timestamptz
  );
  create index concepts_of_owner on concepts (platform, owner_id) where forgotten_at is null;
  create index concepts_of_server on concepts (platform, server_id) where forgotten_at is null;

  create table settings (
    platform text not null,
    scope text not null,
    scope_id text not null,
    changes jsonb not null,
    primary key (platform, scope, scope_id)
  );

  -- Seconds per unit of work of jobs that ran, for the estimate of those that wait.
  create table timings (
    id bigint generated always as identity primary key,
    kind text not null,
    model text not null,
    units double precision not null,
    seconds double precision not null,
    measured_at timestamptz not null default now()
  );
  create index timings_newest on timings (kind, model, id desc);

  create table workers (
    name text primary key,
    offer jsonb not null,
    seen_at timestamptz not null default now()
  );
  `,
  `
  -- The local page: what the platforms elsewhere keep themselves.
  create table web_people (
    id text primary key,
    name text not null,
    -- The name without capitals, so that nobody can pass for another.
    name_key text not null unique,
    is_administrator boolean not null,
    created_at timestamptz not null default now()
  );
  create table web_sessions (
    token_hash text primary key,
    person_id text references web_people (id) on delete cascade,
    expires_at timestamptz not null
  );
  create table web_channels (id text primary key, name text not null, created_at timestamptz not null default now());
  insert into web_channels (id, name) values ('studio', 'studio');

  -- Grows with every change to any message; pages ask for what came after the newest that they know.
  create sequence web_revision;
  create table web_messages (
    id bigint generated always as identity primary key,
    revision bigint not null default nextval('web_revision'),
    channel_id text not null,
    -- Makes a second post of the same thing impossible.
    post_key text unique,
    author_id text,
    author_name text,
    content jsonb not null,
    private_to text,
    is_removed boolean not null default false,
    created_at timestamptz not null default now()
  );
  create index web_messages_of_channel on web_messages (channel_id, id);
  create index web_messages_changed on web_messages (revision);
  create table web_reactions (
    message_id bigint not null references web_messages (id) on delete cascade,
    person_id text not null,
    person_name text not null,
    emoji text not null,
    primary key (message_id, person_id, emoji)
  );
  `,
  // The limit of jobs per person is looked up at every command.
  `create index jobs_of_owner_unfinished on jobs (platform, owner_id) where state in ('queued', 'running')`,
  // With the platform first, plans made for small tables read a server's jobs through it, and go on so when there are many.
  `drop index jobs_of_owner_unfinished;
  create index jobs_of_owner_unfinished on jobs (owner_id, platform) where state in ('queued', 'running')`,
  // One job of many in a statement, each seeing those before it; its plans are kept, which parsing a statement each time is not.
  `
  create function add_job(
    asked jsonb,
    out outcome text,
    out start_tag double precision,
    out ahead integer,
    out ahead_seconds double precision
  ) language plpgsql as $$
  declare
    lane_kind constant text := asked #>> '{job,kind}';
    owner_platform constant text := asked #>> '{replyTo,owner,platform}';
    user_id constant text := asked #>> '{replyTo,owner,userId}';
    place_platform constant text := asked #>> '{replyTo,place,platform}';
    server constant text := asked #>> '{replyTo,place,serverId}';
    cost constant double precision := asked ->> 'costSeconds';
    owner_limit constant integer := asked ->> 'maxJobsPerUser';
    server_limit constant integer := asked ->> 'maxJobsPerServer';
    places constant integer := asked ->> 'countedPlaces';
    busy integer;
    now_in_lane double precision;
  begin
    if exists (select from sketchbooth.invocations where id = asked ->> 'invocationId') then
      outcome := 'duplicate';
      return;
    end if;

    select count(*) into busy from (
      select from sketchbooth.jobs where state in ('queued', 'running')
        and platform = owner_platform and owner_id = user_id limit owner_limit
    ) as mine;
    if busy >= owner_limit then
      outcome := 'too many of the user';
      return;
    end if;
    select count(*) into busy from (
      select from sketchbooth.jobs where state in ('queued', 'running')
        and platform = place_platform and server_id = server limit server_limit
    ) as theirs;
    if busy >= server_limit then
      outcome := 'too many of the server';
      return;
    end if;

    insert into sketchbooth.invocations (id, outcome)
    values (asked ->> 'invocationId', jsonb_build_object('jobId', asked ->> 'id')) on conflict do nothing;
    if not found then
      outcome := 'duplicate';
      return;
    end if;

    -- The start tag of start-time fair queueing: the later of the lane's virtual time and the end of the owner's newest
    -- job (Goyal, Vin and Cheng 1996).
    now_in_lane := coalesce((select virtual_time from sketchbooth.fair_lanes where lane = lane_kind), 0);
    insert into sketchbooth.fair_shares as share (lane, owner, last_tag)
    values (lane_kind, owner_platform || '/' || user_id, now_in_lane + cost)
    on conflict (lane, owner) do update set last_tag = greatest(share.last_tag, now_in_lane) + cost
    returning last_tag - cost into start_tag;

    -- Whatever runs has a tag that is not above the virtual time.
    select count(*), coalesce(sum(cost_seconds), 0) into ahead, ahead_seconds from (
      select cost_seconds from sketchbooth.jobs
      where kind = lane_kind and state in ('queued', 'running') and tag <= start_tag order by tag limit places
    ) as line;

    insert into sketchbooth.jobs
      (id, kind, job, reply_to, platform, owner_id, server_id, channel_id, parent_job_id, note, tag, cost_seconds,
        created_at)
    values (
      asked ->> 'id', lane_kind, asked -> 'job', asked -> 'replyTo', place_platform, user_id, server,
      asked #>> '{replyTo,place,channelId}', asked ->> 'parentJobId', asked ->> 'note', start_tag, cost,
      -- Jobs of one statement have come one after the other too.
      clock_timestamp()
    );
    outcome := 'added';
  end
  $$`,
];

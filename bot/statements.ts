import type { ConceptSummary, PlaceSettings } from '../commands/command.ts';
import type { Database } from '../shared/database.ts';
import type { Actor, Place } from '../shared/jobs.ts';
import { conceptsForEach } from './concepts.ts';
import { type Gathered, gather } from './gather.ts';
import { type AddedJob, addJobs, type NewJob, type ShownAcknowledgement, saveAcknowledgements } from './job-rows.ts';
import { changesAtEach } from './settings.ts';

/** What the tables are asked at every command, gathered: one statement serves all commands that wait for it. */
export interface CommandStatements {
  readonly changedSettings: Gathered<Place, Partial<PlaceSettings>>;
  readonly concepts: Gathered<{ readonly actor: Actor; readonly place: Place }, readonly ConceptSummary[]>;
  readonly addJob: Gathered<NewJob, AddedJob>;
  readonly saveAcknowledgement: Gathered<ShownAcknowledgement, void>;
}

export function commandStatements(database: Database): CommandStatements {
  return {
    changedSettings: gather((places) => changesAtEach(database, places)),
    concepts: gather((people) => conceptsForEach(database, people)),
    addJob: gather((jobs) => addJobs(database, jobs)),
    saveAcknowledgement: gather(async (shown) => {
      await saveAcknowledgements(database, shown);
      return [];
    }),
  };
}

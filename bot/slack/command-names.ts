/** Our commands as Slack knows them. Names that Slack or other apps use already get one of their own. */
const SLACK_NAMES: Readonly<Record<string, string>> = {
  concepts: 'booth-concepts',
  status: 'booth-status',
  cancel: 'booth-cancel',
  settings: 'booth-settings',
  help: 'booth-help',
};

/** @returns the name with its slash */
export function slackCommandName(command: string): string {
  return `/${SLACK_NAMES[command] ?? command}`;
}

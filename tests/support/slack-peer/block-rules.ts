/** Slack's published limits of Block Kit, checked as its servers do: a block that breaks one is refused whole. */
import { z } from 'zod';

const plainText = (max: number) =>
  z.strictObject({ type: z.literal('plain_text'), text: z.string().min(1).max(max), emoji: z.boolean().optional() });
const id = z.string().min(1).max(255);
const option = z.strictObject({ text: plainText(75), value: z.string().min(1).max(150) });

const richText = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('text'),
    text: z.string().min(1),
    style: z
      .strictObject({ bold: z.literal(true), code: z.literal(true) })
      .partial()
      .optional(),
  }),
  z.strictObject({ type: z.literal('user'), user_id: z.string().regex(/^[UW][A-Z0-9]+$/) }),
]);
const richSection = z.strictObject({ type: z.literal('rich_text_section'), elements: z.array(richText).min(1) });
const richTextBlock = z.strictObject({
  type: z.literal('rich_text'),
  elements: z
    .array(
      z.discriminatedUnion('type', [
        richSection,
        z.strictObject({
          type: z.literal('rich_text_list'),
          style: z.enum(['bullet', 'ordered']),
          elements: z.array(richSection).min(1),
        }),
      ]),
    )
    .min(1),
});

const imageBlock = z.strictObject({
  type: z.literal('image'),
  slack_file: z.strictObject({ id: z.string() }),
  alt_text: z.string().min(1).max(2000),
});

/** A picture beside a text, of the image element's documentation. */
const sectionBlock = z.strictObject({
  type: z.literal('section'),
  text: plainText(3000),
  accessory: imageBlock,
});

const button = z.strictObject({
  type: z.literal('button'),
  action_id: id,
  text: plainText(75),
  value: z.string().max(2000),
  style: z.enum(['primary', 'danger']).optional(),
});
const actionsBlock = z.strictObject({ type: z.literal('actions'), elements: z.array(button).min(1).max(25) });

const isUnique = (ids: readonly string[]) => new Set(ids).size === ids.length;

export const messageBlocks = z
  .array(z.discriminatedUnion('type', [richTextBlock, imageBlock, sectionBlock, actionsBlock]))
  .max(50)
  .refine(
    (blocks) =>
      isUnique(blocks.flatMap((block) => (block.type === 'actions' ? block.elements.map((one) => one.action_id) : []))),
    'action ids must be unique in a message',
  );
export type MessageBlocks = z.infer<typeof messageBlocks>;

const numberText = z.string().regex(/^-?\d+(\.\d+)?$/);
const input = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('plain_text_input'),
    action_id: id,
    multiline: z.boolean().optional(),
    max_length: z.int().min(1).max(3000).optional(),
    initial_value: z.string().max(3000).optional(),
  }),
  z.strictObject({
    type: z.literal('number_input'),
    action_id: id,
    is_decimal_allowed: z.boolean(),
    min_value: numberText.optional(),
    max_value: numberText.optional(),
    initial_value: numberText.optional(),
  }),
  z.strictObject({
    type: z.literal('static_select'),
    action_id: id,
    options: z.array(option).min(1).max(100),
    initial_option: option.optional(),
  }),
  z.strictObject({
    type: z.literal('external_select'),
    action_id: id,
    min_query_length: z.int().min(0),
    initial_option: option.optional(),
  }),
  z.strictObject({
    type: z.literal('checkboxes'),
    action_id: id,
    options: z.array(option).min(1).max(10),
    initial_options: z.array(option).min(1).optional(),
  }),
  z.strictObject({
    type: z.literal('file_input'),
    action_id: id,
    filetypes: z.array(z.string()),
    max_files: z.int().min(1).max(10),
  }),
]);

export const modalView = z
  .strictObject({
    type: z.literal('modal'),
    callback_id: id,
    private_metadata: z.string().max(3000),
    title: plainText(24),
    submit: plainText(24),
    close: plainText(24),
    blocks: z
      .array(
        z.strictObject({
          type: z.literal('input'),
          block_id: id,
          optional: z.boolean(),
          label: plainText(2000),
          hint: plainText(2000).optional(),
          element: input,
        }),
      )
      .min(1)
      .max(100),
  })
  .refine(({ blocks }) => isUnique(blocks.map(({ block_id }) => block_id)), 'block ids must be unique in a view');
export type ModalView = z.infer<typeof modalView>;

import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import type { CommandOption, OptionValue } from '../../../commands/command.ts';
import { api } from './api.ts';
import { hideField, setValue } from './draft.ts';
import { Icon } from './icons.tsx';
import { channelId } from './store.ts';

interface FieldProps<O extends CommandOption = CommandOption> {
  readonly option: O;
  readonly value: OptionValue | undefined;
  readonly command: string;
}

/** One option with the control that fits its type. */
export function OptionField(props: FieldProps) {
  const { option } = props;
  const label = option.name.replace(/\d$/, '').replace('_', ' ');
  return (
    <div class={`field is-${option.type}`} title={option.description}>
      <label for={`option-${option.name}`}>{label}</label>
      <Control {...props} />
      {!option.isRequired && (
        <button
          type="button"
          class="round remove-field"
          aria-label={`Leave out ${label}`}
          onClick={() => hideField(option.name)}
          tabIndex={-1}
        >
          <Icon name="close" />
        </button>
      )}
    </div>
  );
}

function Control({ option, value, command }: FieldProps) {
  if (option.type === 'choice')
    return <Select name={option.name} value={value} choices={option.choices.map((choice) => [choice, choice])} />;
  if (option.type === 'boolean')
    return (
      <Select
        name={option.name}
        value={value}
        choices={[
          ['yes', 'yes'],
          ['no', 'no'],
        ]}
      />
    );
  if (option.type === 'text') return <TextInput option={option} value={value} command={command} />;
  if (option.type === 'image') return null;
  const isShare = option.type === 'number' && (option.max ?? Number.POSITIVE_INFINITY) <= 2;
  return isShare ? (
    <Slider option={option} value={value} command={command} />
  ) : (
    <NumberInput option={option} value={value} command={command} />
  );
}

function Select({
  name,
  value,
  choices,
}: {
  name: string;
  value: OptionValue | undefined;
  choices: readonly (readonly [string, string])[];
}) {
  const usual = choices.some(([key]) => key === 'auto') ? 'auto' : '';
  const selected = value === true ? 'yes' : value === false ? 'no' : String(value ?? usual);
  const onChange = ({ currentTarget }: Event) => {
    const { value: chosen } = currentTarget as HTMLSelectElement;
    setValue(name, chosen === '' ? undefined : chosen);
  };
  return (
    <select id={`option-${name}`} value={selected} onChange={onChange}>
      {usual === '' && <option value="">as usual</option>}
      {choices.map(([key, text]) => (
        <option key={key} value={key}>
          {text}
        </option>
      ))}
    </select>
  );
}

type OptionOf<Type extends CommandOption['type']> = Extract<CommandOption, { type: Type }>;

function TextInput({ option, value }: FieldProps<OptionOf<'text'>>) {
  const suggestions = useSignal<readonly string[]>([]);
  const timer = useRef<ReturnType<typeof setTimeout>>();
  const listId = `suggestions-${option.name}`;
  const suggest = (typed: string) => {
    const { completes } = option;
    if (!completes) return;
    clearTimeout(timer.current);
    timer.current = setTimeout(async () => {
      suggestions.value = await api.complete(channelId.value, completes, typed).catch(() => []);
    }, 120);
  };
  const onInput = ({ currentTarget }: Event) => {
    const { value: text } = currentTarget as HTMLInputElement;
    setValue(option.name, text === '' ? undefined : text);
    suggest(text);
  };
  return (
    <>
      <input
        id={`option-${option.name}`}
        value={String(value ?? '')}
        onInput={onInput}
        onFocus={() => suggest(String(value ?? ''))}
        maxLength={option.maxLength}
        required={option.isRequired}
        placeholder={PLACEHOLDERS[option.name]}
        list={option.completes ? listId : undefined}
        autocomplete="off"
      />
      {option.completes && (
        <datalist id={listId}>
          {suggestions.value.map((text) => (
            <option key={text} value={text} />
          ))}
        </datalist>
      )}
    </>
  );
}

const PLACEHOLDERS: Readonly<Record<string, string>> = {
  size: '512x768',
  during: '0-0.6',
  during2: '0-0.6',
  during3: '0-0.6',
  name: 'rex',
  class: 'dog',
  negative: 'blurry, text',
  model: 'pocket',
};

function NumberInput({ option, value }: FieldProps<OptionOf<'integer' | 'number'>>) {
  const onInput = ({ currentTarget }: Event) => {
    const { value: text } = currentTarget as HTMLInputElement;
    setValue(option.name, text.trim() === '' ? undefined : text);
  };
  const range = option.max === undefined || option.max > 1e6 ? 'number' : `${option.min ?? 0} to ${option.max}`;
  return (
    <input
      id={`option-${option.name}`}
      inputMode={option.type === 'integer' ? 'numeric' : 'decimal'}
      value={String(value ?? '')}
      onInput={onInput}
      placeholder={range}
      autocomplete="off"
    />
  );
}

function Slider({ option, value, command }: FieldProps<OptionOf<'integer' | 'number'>>) {
  // What the command takes where nothing is said.
  const usual = command === 'imagine' && option.name === 'strength' ? 0.75 : 1;
  const shown = Number(value ?? usual);
  const onInput = ({ currentTarget }: Event) =>
    setValue(option.name, Number((currentTarget as HTMLInputElement).value));
  return (
    <>
      <input
        id={`option-${option.name}`}
        type="range"
        min={option.min}
        max={option.max}
        step={0.05}
        value={shown}
        onInput={onInput}
      />
      <output for={`option-${option.name}`}>{shown.toFixed(2)}</output>
    </>
  );
}

/** Tensor dimensions: integers, or polynomials over named symbols with floor division, in one canonical form. */

/** A dimension that is known as a number, or only as an expression over symbols such as `height`. */
export type Dim = number | SymbolicDim;

/** A polynomial whose terms are sorted, so that equal expressions have equal keys. */
export interface SymbolicDim {
  readonly terms: readonly Term[];
  readonly key: string;
}

interface Term {
  readonly coefficient: number;
  /** Sorted by key; empty for the constant term. */
  readonly atoms: readonly Atom[];
}

type Atom =
  | { readonly kind: 'symbol'; readonly name: string; readonly key: string }
  | { readonly kind: 'floor'; readonly numerator: SymbolicDim; readonly divisor: number; readonly key: string };

/** Values of symbols, all positive integers. */
export type SymbolValues = Readonly<Record<string, number>>;

export function symbol(name: string): SymbolicDim {
  return fromAtom({ kind: 'symbol', name, key: name });
}

export function addDims(...dims: readonly Dim[]): Dim {
  return fromTerms(dims.flatMap(termsOf));
}

export function subtractDims(a: Dim, b: Dim): Dim {
  return addDims(a, multiplyDims(-1, b));
}

export function multiplyDims(...dims: readonly Dim[]): Dim {
  let terms: readonly Term[] = [{ coefficient: 1, atoms: [] }];
  for (const dim of dims) {
    terms = terms.flatMap((a) =>
      termsOf(dim).map((b) => ({
        coefficient: a.coefficient * b.coefficient,
        atoms: [...a.atoms, ...b.atoms].sort((x, y) => (x.key < y.key ? -1 : 1)),
      })),
    );
  }
  return fromTerms(terms);
}

/**
 * Returns floor(dim / divisor), with whole multiples taken out of the floor and nested floors merged:
 * floor((floor(e/a) + c)/b) = floor((e + a·c)/(a·b)).
 * What stays in a floor is never negative, so that integer division rounds it down as well as towards zero.
 * @param divisor a positive integer
 */
export function floorDivideDim(dim: Dim, divisor: number): Dim {
  if (divisor === 1) return dim;
  if (typeof dim === 'number') return Math.floor(dim / divisor);
  const constant = dim.terms.find((term) => term.atoms.length === 0)?.coefficient ?? 0;
  const variable = dim.terms.filter((term) => term.atoms.length > 0);
  const quotient = variable.map((term) => ({ ...term, coefficient: Math.floor(term.coefficient / divisor) }));
  const rest = variable
    .map((term, i) => ({ ...term, coefficient: term.coefficient - divisor * quotient[i]!.coefficient }))
    .filter((term) => term.coefficient !== 0);
  if (rest.length === 0) return fromTerms([...quotient, constantTerm(Math.floor(constant / divisor))]);
  const nested = rest.length === 1 && rest[0]!.coefficient === 1 && rest[0]!.atoms.length === 1 && rest[0]!.atoms[0]!;
  if (nested && nested.kind === 'floor') {
    const numerator = addDims(nested.numerator, nested.divisor * constant);
    return addDims(fromTerms(quotient), floorDivideDim(numerator, nested.divisor * divisor));
  }
  // floor((g·e + c)/(g·d)) = floor((e + floor(c/g))/d)
  const common = [...rest.map((term) => term.coefficient), divisor].reduce(greatestCommonDivisor);
  const reduced = rest.map((term) => ({ ...term, coefficient: term.coefficient / common }));
  if (common > 1) {
    const offset = Math.floor(constant / common);
    return addDims(fromTerms(quotient), floorDivideDim(addDims(fromTerms(reduced), offset), divisor / common));
  }
  const remainder = ((constant % divisor) + divisor) % divisor;
  const numerator = fromTerms([...rest, constantTerm(remainder)]) as SymbolicDim;
  const floor = fromAtom({ kind: 'floor', numerator, divisor, key: `floor((${numerator.key})/${divisor})` });
  return addDims(fromTerms(quotient), floor, (constant - remainder) / divisor);
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? Math.abs(a) : greatestCommonDivisor(b, a % b);
}

export function equalDims(a: Dim, b: Dim): boolean {
  return dimToString(a) === dimToString(b);
}

export function dimToString(dim: Dim): string {
  return typeof dim === 'number' ? String(dim) : dim.key;
}

export function shapeToString(shape: readonly Dim[]): string {
  return `[${shape.map(dimToString).join(', ')}]`;
}

/** Replaces the symbols that have a value; the result is a number once all of them have one. */
export function substituteDim(dim: Dim, values: SymbolValues): Dim {
  return foldDim<Dim>(dim, {
    constant: (value) => value,
    symbol: (name) => values[name] ?? symbol(name),
    add: (a, b) => addDims(a, b),
    multiply: (a, b) => multiplyDims(a, b),
    floorDivide: floorDivideDim,
  });
}

/** How to compute a dimension in another domain: numbers, or nodes of a graph. */
export interface DimAlgebra<T> {
  constant(value: number): T;
  symbol(name: string): T;
  add(a: T, b: T): T;
  multiply(a: T, b: T): T;
  floorDivide(a: T, divisor: number): T;
}

export function foldDim<T>(dim: Dim, algebra: DimAlgebra<T>): T {
  const atom = (a: Atom): T =>
    a.kind === 'symbol' ? algebra.symbol(a.name) : algebra.floorDivide(foldDim(a.numerator, algebra), a.divisor);
  const term = ({ coefficient, atoms }: Term): T => {
    const factors = atoms.map(atom);
    if (coefficient !== 1 || factors.length === 0) factors.push(algebra.constant(coefficient));
    return factors.reduce((a, b) => algebra.multiply(a, b));
  };
  const terms = termsOf(dim).map(term);
  return terms.length === 0 ? algebra.constant(0) : terms.reduce((a, b) => algebra.add(a, b));
}

function termsOf(dim: Dim): readonly Term[] {
  return typeof dim === 'number' ? [constantTerm(dim)] : dim.terms;
}

function constantTerm(coefficient: number): Term {
  return { coefficient, atoms: [] };
}

function fromAtom(atom: Atom): SymbolicDim {
  return { terms: [{ coefficient: 1, atoms: [atom] }], key: atom.key };
}

function fromTerms(terms: readonly Term[]): Dim {
  const merged = new Map<string, Term>();
  for (const term of terms) {
    const key = term.atoms.map((atom) => atom.key).join('*');
    const coefficient = term.coefficient + (merged.get(key)?.coefficient ?? 0);
    merged.set(key, { coefficient, atoms: term.atoms });
  }
  const kept = [...merged].filter(([, term]) => term.coefficient !== 0).sort(([a], [b]) => (a < b ? 1 : -1));
  if (kept.every(([key]) => key === '')) return kept[0]?.[1].coefficient ?? 0;
  const key = kept.map(([atoms, term]) => termKey(atoms, term.coefficient)).join(' + ');
  return { terms: kept.map(([, term]) => term), key };
}

function termKey(atoms: string, coefficient: number): string {
  if (atoms === '') return String(coefficient);
  return coefficient === 1 ? atoms : `${coefficient}*${atoms}`;
}

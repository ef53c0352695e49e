// Records what graphql-js makes of random queries over the data that graphqljs_test.go serves:
//   npm install graphql@16 && node record.js ../library.graphqls > recorded.json
// Fields that are made non-null here are made so in the test, too, so that nulls propagate often.
const graphql = require('graphql');
const fs = require('fs');

const strict = [
  ['agent: Author @', 'agent: Author! @'], ['shelf: Shelf @', 'shelf: Shelf! @'],
  ['illustrator: Author @', 'illustrator: Author! @'], ['sequelAuthors: [Author]', 'sequelAuthors: [Author!]'],
  ['penName: String', 'penName: String!'],
];
let sdl = fs.readFileSync(process.argv[2], 'utf8') + '\nscalar DateTime';
for (const [from, to] of strict) sdl = sdl.replace(from, to);
const schema = graphql.buildASTSchema(graphql.visit(graphql.parse(sdl), { Directive: () => null }));

let seed = 20261123;
function random(n) { // mulberry32
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % n;
}

let fragments = [];
function directive() {
  switch (random(12)) {
    case 0: return ' @skip(if: $a)';
    case 1: return ' @include(if: $b)';
    case 2: return ' @include(if: true)';
    default: return random(30) === 0 ? ' @skip(if: true)' : '';
  }
}
function argumentsOf(field) {
  return { book: '(id: "1")', search: '(query: "x")' }[field.name] || (field.args.some((a) => a.name === 'id') ? '(id: "1")' : '');
}
function selection(type, depth) {
  const out = [];
  const abstract = graphql.isAbstractType(type);
  const narrowed = () => (abstract ? schema.getPossibleTypes(type)[random(3)] : type);
  for (let i = 1 + random(4); i > 0; i--) {
    const r = random(10);
    if (abstract ? r < 6 : r === 0 && depth > 0) {
      const t = narrowed();
      out.push(`... on ${t.name}${directive()} ${selection(t, depth)}`);
    } else if (r === 1 && depth > 0) {
      const t = narrowed();
      const n = fragments.push('') - 1;
      fragments[n] = `fragment F${n} on ${t.name} ${selection(t, depth - 1)}`;
      out.push(`...F${n}${directive()}`);
      if (random(3) === 0) out.push(`...F${n}`);
    } else if (abstract || r === 2) {
      out.push('__typename' + directive());
    } else {
      const fields = Object.values(type.getFields());
      const field = fields[random(fields.length)];
      const below = graphql.getNamedType(field.type);
      const alias = random(6) === 0 ? `x${random(2)}${field.name}: ` : '';
      if (!graphql.isCompositeType(below)) out.push(alias + field.name + argumentsOf(field) + directive());
      else if (depth > 0) out.push(`${alias}${field.name}${argumentsOf(field)}${directive()} ${selection(below, depth - 1)}`);
    }
  }
  return out.length ? `{ ${out.join(' ')} }` : '{ __typename }';
}
function query() {
  for (;;) {
    fragments = [];
    const body = `${selection(schema.getQueryType(), 5)} ${fragments.join(' ')}`.trim();
    const used = ['a', 'b'].filter((v) => body.includes(`$${v})`));
    const head = used.length ? `query(${used.map((v) => `$${v}: Boolean!`).join(', ')}) ` : '';
    if (body.length > 700 || graphql.validate(schema, graphql.parse(head + body)).length) continue;
    return { query: head + body, variables: Object.fromEntries(used.map((v) => [v, random(2) === 1])) };
  }
}

// The data: a is an author with an agent, b one without.
const a = { __typename: 'Author', id: 'a', name: 'A', penName: null, agent: () => b };
const b = { __typename: 'Author', id: 'b', name: '', penName: 'P', agent: null };
const z = { __typename: 'Author', id: 'z', name: '', penName: null, agent: () => a };
const copy = { branch: 'z', number: 4, state: 's' };
const none = {
  __typename: 'Book', id: '', title: '', genre: null, author: null, editor: null, sequelAuthors: [], owner: () => a, reviews: [],
  shelf: null, copy: null, sameCopy: null, chapters: [], next: null,
};
const one = {
  ...none, id: '1', title: 'T1', genre: 'NOVEL', author: () => a, sequelAuthors: () => [a, null],
  reviews: [{ text: 'r1', author: () => a }], shelf: { __typename: 'Shelf', label: 'L' }, copy, sameCopy: copy,
  chapters: [
    { title: 'c1', translator: () => a, pages: [{ number: 1, illustrator: () => b }, { number: 2, illustrator: null }] },
    { title: '', translator: null, pages: [] },
  ],
  next: { ...none, title: 'N', author: () => b },
};
const two = { ...none, id: '2', reviews: [{ text: 'r2', author: null }] };
const rootValue = {
  book: one, books: { books: [one, two], next: null, total: 2 }, allBooks: [one, two], bookCount: 2, author: null,
  search: [one, { __typename: 'Shelf', label: 'L2' }, null, z],
};

(async () => {
  const lines = [];
  let plain = 0;
  while (lines.length < 300) {
    const q = query();
    const result = await graphql.execute({ schema, document: graphql.parse(q.query), rootValue, variableValues: q.variables });
    if (!result.errors && (plain++ > 600 || plain % 4)) continue; // half of them shall fail
    lines.push(JSON.stringify({ ...q, data: result.data, failed: Boolean(result.errors) }));
  }
  console.log(`[\n${lines.join(',\n')}\n]`);
})();

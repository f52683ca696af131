// Which keys a row sees. MEMORY says where they are: in the paged cache; there with the values in the keys' own columns;
// or in this step's own rows, counted from the first row of the sequence. After the push constants, which have
// row_sequences, positions, lengths (own rows: sequence_starts) and window_causal. CHUNKED: the window is the length of a
// chunk, and a row sees its own chunk.
#define MEMORY_PAGED 0
#define MEMORY_ALIAS 1
#define MEMORY_OWN 2

struct Seen {
  uint sequence, query;  // the query's place among the keys
  uint begin, end;       // of the keys
};

Seen keys_of(uint row) {
  Seen of;
  of.sequence = row_sequences.at[row];
  uint count;
  if (MEMORY == MEMORY_OWN) {
    of.query = row - lengths.at[of.sequence];
    count = lengths.at[of.sequence + 1] - lengths.at[of.sequence];
  } else {
    of.query = positions.at[row];
    count = max(lengths.at[of.sequence], of.query + 1);
  }
  const uint window = window_causal >> 1;
  const bool causal = (window_causal & 1) != 0;
  of.begin = window != 0 && of.query >= window ? of.query - window + 1 : 0;
  if (CHUNKED != 0) of.begin = of.query - of.query % window;
  of.end = causal ? of.query + 1 : count;
  if (window != 0 && !causal) of.end = min(of.end, of.query + window);
  return of;
}

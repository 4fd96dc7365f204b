// Finding text in what a terminal has shown. Pure but for the lines that it is handed.

export interface Match {
  /** The row where it begins, from the oldest on, and the column there. */
  row: number;
  column: number;
  /** How many columns it takes, over row ends. */
  length: number;
}

/** What is searched: rows of cells, as xterm.js has them. */
export interface Rows {
  readonly columns: number;
  readonly length: number;
  /** The row's text; `true` for one that goes on the row before. */
  row(at: number): { text: string; isWrapped: boolean; cells(): string[] } | undefined;
}

export const MATCHES_MAX = 10_000;

/** Every place where the text is, the oldest first; case counts only where the text has capitals. */
export function find(rows: Rows, text: string): Match[] {
  const matches: Match[] = [];
  if (text === "") return matches;
  const fold = /\p{Lu}/u.test(text) ? (part: string) => part : (part: string) => part.toLowerCase();
  const wanted = fold(text);
  for (let first = 0; first < rows.length; ) {
    let end = first + 1;
    let line = rows.row(first)?.text ?? "";
    for (let next = rows.row(end); next?.isWrapped; next = rows.row(++end)) line += next.text;
    const folded = fold(line);
    // Where folding changes lengths, places would be wrong: then case counts.
    const searched = folded.length === line.length ? folded : line;
    let at = searched.indexOf(wanted);
    if (at >= 0) {
      const columns = columnsOf(rows, first, end);
      for (; at >= 0 && matches.length < MATCHES_MAX; at = searched.indexOf(wanted, at + wanted.length)) {
        const from = columns[at] ?? 0;
        const to = columns[at + wanted.length] ?? (end - first) * rows.columns;
        matches.push({ row: first + Math.floor(from / rows.columns), column: from % rows.columns, length: to - from });
      }
    }
    first = end;
  }
  return matches;
}

/** For each letter of a line over these rows the column where it stands, counted from the first row's begin. */
function columnsOf(rows: Rows, first: number, end: number): number[] {
  const columns: number[] = [];
  for (let row = first; row < end; row += 1) {
    const cells = rows.row(row)?.cells() ?? [];
    cells.forEach((cell, column) => {
      for (let letter = 0; letter < cell.length; letter += 1) columns.push((row - first) * rows.columns + column);
    });
  }
  return columns;
}

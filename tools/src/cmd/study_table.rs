//! The table of a study: a line a protocol, a column a method.

use super::terminal::{percent, table};
use crate::adapt::study::Row;
use tailtune::tune::MethodId;

/// Returns the table, in percent: accuracy after, with an arrow from the accuracy before where there was one.
pub fn study_table(rows: &[Row]) -> String {
    let mut header = vec!["protocol"];
    header.extend(MethodId::ALL.iter().map(|m| m.name()));
    let mut lines = table(&header);
    let mut rest = rows;
    while let Some(first) = rest.first() {
        let same = |row: &&Row| row.study == first.study && row.what == first.what;
        let (group, after) = rest.split_at(rest.iter().take_while(same).count());
        rest = after;
        let mut line = |what: String, cell: &dyn Fn(&Row) -> Option<String>| {
            let of_method = |m: &MethodId| group.iter().find(|row| row.method == m.name());
            let cells = MethodId::ALL.iter().map(of_method);
            let cells = cells.map(|row| row.and_then(cell).unwrap_or_default());
            lines.add_row(std::iter::once(what).chain(cells));
        };
        let what = format!("{}: {}, {} runs", first.study, first.what, first.runs);
        line(what, &|row| Some(accuracy(row)));
        if first.added_words.is_some() {
            line("new words".into(), &|row| row.added_words.map(number));
        }
        if let Some(pseudo) = first.pseudo {
            let (taken, wrong) = (percent(pseudo.taken), percent(pseudo.wrong));
            let what = format!("rolled back; {taken} of the stream taken, {wrong} of that wrong");
            line(what, &|row| row.pseudo.map(|p| number(p.rolled_back)));
        }
    }
    lines.to_string()
}

fn accuracy(row: &Row) -> String {
    match row.before {
        Some(before) => format!("{} → {}", number(before), number(row.after)),
        None => number(row.after),
    }
}

fn number(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_protocol_a_column_a_method() {
        let row = |study: &str, method: MethodId, before| Row {
            study: study.into(),
            what: "3 shots".into(),
            method: method.name(),
            before,
            after: 0.976_76,
            worst: 0.9,
            runs: 6,
            added_words: before.map(|_| 0.5),
            pseudo: None,
        };
        let table = study_table(&[
            row("few-shots", MethodId::Ncm, None),
            row("few-shots", MethodId::Lora, None),
            row("add-words", MethodId::Lora, Some(0.8)),
        ]);
        let cells: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        assert_eq!(
            cells[0][1..8].join(" "),
            "protocol ncm ridge softmax norm-bias lora last-block"
        );
        assert_eq!(cells[2][1], "few-shots: 3 shots, 6 runs");
        assert_eq!(
            (cells[2][2], cells[2][3], cells[2][6]),
            ("97.68", "", "97.68")
        );
        assert_eq!(cells[3][6], "80.00 → 97.68");
        assert_eq!((cells[4][1], cells[4][6]), ("new words", "50.00"));
        assert_eq!(cells.len(), 5);
    }
}

//! The counts that the repository holds: what a change is compared with, and the README's tables.

use super::super::CYCLES;
use super::super::CommandError;
use super::super::terminal::table;
use super::measure::{Count, Measured, ModelCost};
use crate::output::write_whole;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How much more than the baseline a count may be.
const ALLOWED: f64 = 0.01;

/// What is recorded, by board.
#[derive(Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Baseline(BTreeMap<String, Recorded>);

/// A board's counts.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Recorded {
    /// What compiled the bench: another compiler's counts are others.
    compiler: String,
    /// Instructions of a case, and the bytes of .text.
    counts: BTreeMap<String, u64>,
}

/// What comes of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What rose by more than one percent, or is in only one of both.
    pub complaints: Vec<String>,
    /// Boards that another compiler built than the baseline's.
    pub not_compared: Vec<String>,
    /// The others.
    pub compared: usize,
}

/// Where the repository holds it.
pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/bench.json")
}

fn readme() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

const TEXT: &str = "text-bytes";
const TEXT_TRAINING: &str = "text-bytes-training";

impl Baseline {
    /// What was measured, as a baseline.
    pub fn of(measured: &[Measured]) -> Self {
        let board = |m: &Measured| {
            let counts = m.counts.iter().map(|c| (c.case.clone(), c.instructions));
            let text = [(TEXT, m.text_bytes), (TEXT_TRAINING, m.text_bytes_training)];
            let text = text.map(|(name, bytes)| (name.to_owned(), bytes));
            let recorded = Recorded {
                compiler: m.compiler.clone(),
                counts: counts.chain(text).collect(),
            };
            (m.board.name.clone(), recorded)
        };
        Self(measured.iter().map(board).collect())
    }

    pub fn read() -> Result<Self, CommandError> {
        let path = path();
        let text =
            std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()).into())
    }

    pub fn write(&self) -> Result<(), CommandError> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        Ok(write_whole(&path(), text.as_bytes())?)
    }

    /// Compares the boards that were measured.
    pub fn compare(&self, measured: &[Measured]) -> Comparison {
        let mut comparison = Comparison::default();
        let found = &mut comparison.complaints;
        for (board, now) in &Self::of(measured).0 {
            let Some(before) = self.0.get(board) else {
                found.push(format!("{board}: not in the baseline"));
                continue;
            };
            if before.compiler != now.compiler {
                let (before, now) = (&before.compiler, &now.compiler);
                let why = format!("{board}: built by {now}, the baseline by {before}");
                comparison.not_compared.push(why);
                continue;
            }
            comparison.compared += 1;
            let (before, now) = (&before.counts, &now.counts);
            for (case, &count) in now {
                match before.get(case) {
                    None => found.push(format!(
                        "{board}: {case} is not in the baseline (tests/bench.json); it takes {count}"
                    )),
                    Some(&before) if count as f64 > before as f64 * (1.0 + ALLOWED) => {
                        let rise = 100.0 * (count as f64 / before as f64 - 1.0);
                        found.push(format!(
                            "{board}: {case} rose from {before} to {count}, by {rise:.1} %"
                        ));
                    }
                    Some(_) => {}
                }
            }
            let gone = before.keys().filter(|case| !now.contains_key(*case));
            found.extend(gone.map(|case| {
                format!(
                    "{board}: {case} is in the baseline (tests/bench.json) and was not measured"
                )
            }));
        }
        comparison
    }
}

/// `1234567` as `1,234,567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The instructions, a row a case and a column a core; then the models.
pub fn tables(measured: &[Measured]) -> String {
    let Some(first) = measured.first() else {
        return String::new();
    };
    let mut header = vec!["case", "MACs"];
    header.extend(measured.iter().map(|m| m.board.core.as_str()));
    let mut rows = table(&header);
    for Count { case, macs, .. } in &first.counts {
        let mut row = vec![case.clone(), grouped(*macs)];
        row.extend(measured.iter().map(|m| {
            let count = m.counts.iter().find(|c| c.case == *case);
            count.map_or_else(String::new, |c| grouped(c.instructions))
        }));
        rows.add_row(row);
    }
    let mut text = |name: &str, bytes: fn(&Measured) -> u64| {
        let mut row = vec![name.to_owned(), String::new()];
        row.extend(measured.iter().map(|m| grouped(bytes(m))));
        rows.add_row(row);
    };
    text(".text, bytes", |m| m.text_bytes);
    text(".text with training", |m| m.text_bytes_training);
    format!("{rows}\n\n{}", models(first))
}

fn models(first: &Measured) -> String {
    let at = |mhz: u32| format!("ms at {mhz} MHz");
    let clocks = [64, 168];
    let mut header = ["model", "arena", "image", "stack", "weights read"]
        .map(str::to_owned)
        .to_vec();
    header.extend(clocks.map(at));
    let mut rows = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for c in &first.counts {
        let Some(ModelCost {
            arena_bytes,
            image_bytes,
            stack_bytes,
            weight_bytes_read,
        }) = c.model
        else {
            continue;
        };
        let name = c.case.trim_end_matches("-forward").to_owned();
        let mut row = vec![name];
        let bytes = [
            arena_bytes as u64,
            image_bytes as u64,
            stack_bytes,
            weight_bytes_read as u64,
        ];
        row.extend(bytes.map(grouped));
        let ms = |mhz: u32| {
            format!(
                "{:.0}",
                c.instructions as f64 * CYCLES / f64::from(mhz) / 1e3
            )
        };
        row.extend(clocks.map(ms));
        rows.add_row(row);
    }
    rows.to_string()
}

const BEGIN: &str = "<!-- tailtune bench --write -->\n";
const END: &str = "<!-- end of tailtune bench -->";

/// Puts the tables into the README.
pub fn write_readme(measured: &[Measured]) -> Result<(), CommandError> {
    let path = readme();
    let text = std::fs::read_to_string(&path)?;
    let cut = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) =
        cut.ok_or_else(|| format!("{}: no {BEGIN:?} before a {END:?}", path.display()))?;
    let text = format!("{before}{BEGIN}\n{}\n\n{END}{after}", tables(measured));
    Ok(write_whole(&path, text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board;

    fn measured(instructions: u64) -> Vec<Measured> {
        let board = board::find("qemu-mps2-an386").unwrap();
        let count = Count {
            board: board.name.clone(),
            core: board.core.clone(),
            case: "layer".into(),
            instructions,
            macs: 7,
            per_mac: 1.0,
            model: None,
        };
        vec![Measured {
            board,
            compiler: "rustc 1".into(),
            counts: vec![count],
            text_bytes: 1000,
            text_bytes_training: 1200,
        }]
    }

    #[test]
    fn a_rise_of_more_than_one_percent_is_told() {
        let baseline = Baseline::of(&measured(1000));
        assert_eq!(baseline.compare(&measured(1010)).complaints, [""; 0]);
        let found = baseline.compare(&measured(1011)).complaints;
        assert_eq!(
            found,
            ["qemu-mps2-an386: layer rose from 1000 to 1011, by 1.1 %"]
        );
        assert_eq!(baseline.compare(&measured(500)).complaints, [""; 0]);
    }

    #[test]
    fn a_case_in_only_one_is_told() {
        let mut other = measured(1000);
        other[0].counts[0].case = "forward".into();
        let found = Baseline::of(&measured(1000)).compare(&other).complaints;
        let expected = [
            "forward is not in the baseline (tests/bench.json); it takes 1000",
            "layer is in the baseline (tests/bench.json) and was not measured",
        ];
        assert_eq!(found, expected.map(|e| format!("qemu-mps2-an386: {e}")));
        assert_eq!(Baseline::default().compare(&other).complaints.len(), 1);
    }

    #[test]
    fn another_compilers_counts_are_not_compared() {
        let mut other = measured(5000);
        other[0].compiler = "rustc 2".into();
        let comparison = Baseline::of(&measured(1000)).compare(&other);
        assert_eq!((comparison.compared, comparison.complaints.len()), (0, 0));
        let why = "qemu-mps2-an386: built by rustc 2, the baseline by rustc 1";
        assert_eq!(comparison.not_compared, [why]);
    }

    #[test]
    fn digits_are_in_groups_of_three() {
        assert_eq!(
            [0, 12, 123, 1234, 1_234_567].map(grouped),
            ["0", "12", "123", "1,234", "1,234,567"]
        );
    }

    /// What `Tuner::plan` says of KWT-1's last block and head, of every step that the baseline counts.
    #[test]
    fn plans_are_within_15_percent_of_the_baseline() {
        use super::super::measure::LAST_BLOCK;
        use tailtune::tune::{MethodId, Optimizer, Schedule, TuneSetup, Tuner};
        let momentum = Schedule::default();
        let sgd = Schedule {
            momentum: 0.0,
            ..momentum
        };
        let adam = Schedule {
            optimizer: Optimizer::Adam,
            ..momentum
        };
        let baseline = Baseline::read().unwrap();
        let counts = &baseline.0["qemu-mps2-an386"].counts;
        let mut compared = 0;
        for (case, method, schedule) in [
            ("head-step-sgd", MethodId::Softmax, sgd),
            ("head-step-momentum", MethodId::Softmax, momentum),
            ("adam-step", MethodId::Softmax, adam),
            ("ncm-step", MethodId::Ncm, sgd),
            ("ridge-step", MethodId::Ridge, sgd),
            ("norm-bias-step", MethodId::NormBias, momentum),
            ("lora-step", MethodId::Lora, momentum),
            ("last-block-step", MethodId::LastBlock, momentum),
        ] {
            let Some(&counted) = counts.get(case) else {
                continue;
            };
            let setup = TuneSetup {
                schedule,
                ..TuneSetup::new(0)
            };
            let plan = Tuner::plan(&LAST_BLOCK, method, &setup).unwrap();
            let off = f64::from(plan.instructions()) / counted as f64 - 1.0;
            assert!(
                off.abs() <= 0.15,
                "{case}: {} of {counted}",
                plan.instructions()
            );
            compared += 1;
        }
        assert!(compared >= 8, "{compared}");
    }

    /// Whoever changes one and not the other did not run `tailtune bench --write`.
    #[test]
    fn the_readme_has_the_baselines_numbers() {
        let text = std::fs::read_to_string(readme()).unwrap();
        let baseline = Baseline::read().unwrap();
        assert!(baseline.0.len() >= 4, "{} boards", baseline.0.len());
        for (board, counts) in baseline.0 {
            for (case, count) in counts.counts {
                let count = grouped(count);
                assert!(
                    text.contains(&format!(" {count} ")),
                    "{board}: {case}: {count}"
                );
            }
        }
    }
}

//! `tailtune probes`: the debug probes that are plugged in.

use super::CommandError;
use clap::Args;

/// List the debug probes that are plugged in
#[derive(Debug, Args)]
pub struct Probes {
    /// Print one JSON object: probes[] with selector (what --probe takes), name, kind, accessible
    #[arg(long)]
    json: bool,
}

#[cfg(feature = "flash")]
impl Probes {
    pub(super) fn run(self) -> Result<(), CommandError> {
        use super::terminal::{print, print_json, table};
        let found = crate::flash::probe::list();
        if self.json {
            let probes = found.iter().map(|p| {
                serde_json::json!({
                    "selector": p.selector, "name": p.name, "kind": p.kind,
                    "accessible": p.accessible,
                })
            });
            return print_json(&serde_json::json!({ "probes": probes.collect::<Vec<_>>() }));
        }
        if found.is_empty() {
            return print(
                "none found: plug a probe in (CMSIS-DAP, J-Link, ST-Link, Black Magic, …) and try again; on Linux, \
                 probe-rs's udev rules let a user see it (https://probe.rs/docs/getting-started/probe-setup)",
            );
        }
        let mut rows = table(&["--probe", "name", "kind", "may be opened"]);
        for p in &found {
            let accessible = if p.accessible {
                "yes"
            } else {
                "no: udev rules"
            };
            rows.add_row([&*p.selector, &*p.name, &*p.kind, accessible]);
        }
        print(&rows.to_string())
    }
}

#[cfg(not(feature = "flash"))]
impl Probes {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let Self { json: _ } = self;
        Err(super::on_probe::WITHOUT.into())
    }
}

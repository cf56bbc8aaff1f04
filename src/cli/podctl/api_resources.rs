//! `podctl api-resources`: the one kind there is.

use super::{Outcome, print};
use crate::cli::output::table::Writer;
use crate::kube::table::Table;
use clap::Args;

/// Flags of `api-resources`.
#[derive(Args)]
pub struct Flags {
    /// Leave the headers out
    #[arg(long)]
    no_headers: bool,
}

/// Runs it.
pub fn run(flags: &Flags) -> Outcome {
    let headers = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
    let pods = ["pods", "po", "v1", "true", "Pod"].map(str::to_owned).to_vec();
    let table = Table { headers: headers.map(str::to_owned).to_vec(), rows: vec![pods] };
    let mut writer = Writer::default();
    print(&if flags.no_headers { writer.rows(&table.rows) } else { writer.table(&table) })?;
    Ok(0)
}

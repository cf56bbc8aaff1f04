//! `podctl api-resources` and `api-versions`: what kinds there are.

use super::{Outcome, print};
use crate::cli::output::table::text;
use crate::error::Error;
use crate::kube::Resource;
use crate::kube::table::Table;
use clap::Args;

/// Flags of `api-resources`.
#[derive(Args)]
pub struct Flags {
    /// Leave the headers out
    #[arg(long)]
    no_headers: bool,
    /// Output format: wide or name
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    /// Only kinds that belong to a namespace, or only those that do not
    #[arg(long, value_parser = super::flags::parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    namespaced: Option<bool>,
    /// Only kinds of this API group: "" is the group of pods
    #[arg(long, value_name = "GROUP")]
    api_group: Option<String>,
    /// Only kinds that these verbs can be used with
    #[arg(long, value_delimiter = ',', value_name = "VERB")]
    verbs: Vec<String>,
    /// Only kinds of these categories; pods are of "all"
    #[arg(long, value_delimiter = ',', value_name = "CATEGORY")]
    categories: Vec<String>,
    /// Accepted for kubectl's sake: nothing is asked of a server
    #[arg(long, hide = true)]
    cached: bool,
    /// Order by name or kind
    #[arg(long, value_name = "FIELD")]
    sort_by: Option<String>,
}

/// Flags of `api-versions`: none.
#[derive(Args)]
pub struct VersionsFlags {}

/// Runs `api-resources`.
pub fn run(flags: &Flags) -> Outcome {
    let output = flags.output.as_deref().unwrap_or_default();
    if !["", "wide", "name"].contains(&output) {
        return Err(Error::user(format!("--output {output} is not available")).into());
    }
    if flags.sort_by.as_deref().is_some_and(|order| !["name", "kind"].contains(&order)) {
        let text = "--sort-by accepts only name or kind";
        return Err(Error::user(text).into());
    }
    let mut kinds = Resource::ALL.to_vec();
    kinds.retain(|kind| {
        flags.namespaced.is_none_or(|namespaced| namespaced == kind.namespaced())
            && flags.api_group.as_deref().is_none_or(str::is_empty)
            && flags.verbs.iter().all(|verb| kind.verbs().contains(&verb.as_str()))
            && flags.categories.iter().all(|category| category == self::category(*kind))
    });
    if flags.sort_by.as_deref() == Some("kind") {
        kinds.sort_by_key(|kind| kind.kind());
    }
    if output == "name" {
        let names = kinds.iter().map(|kind| format!("{}\n", kind.plural()));
        print(&names.collect::<String>())?;
        return Ok(0);
    }
    let table = table(&kinds, output == "wide");
    print(&text(&table, flags.no_headers))?;
    Ok(0)
}

fn table(kinds: &[Resource], wide: bool) -> Table {
    let mut headers = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
    if wide {
        headers.extend(["VERBS", "CATEGORIES"]);
    }
    let rows = kinds.iter().map(|kind| {
        let namespaced = kind.namespaced().to_string();
        let mut row = vec![kind.plural(), kind.short(), "v1", &namespaced, kind.kind()];
        let verbs = kind.verbs().join(",");
        if wide {
            row.extend([verbs.as_str(), category(*kind)]);
        }
        row.into_iter().map(str::to_owned).collect()
    });
    Table { rows: rows.collect(), headers: headers.into_iter().map(str::to_owned).collect() }
}

/// As the API server has them.
fn category(kind: Resource) -> &'static str {
    if kind == Resource::Pods { "all" } else { "" }
}

/// Runs `api-versions`.
pub fn versions() -> Outcome {
    print("v1\n")?;
    Ok(0)
}

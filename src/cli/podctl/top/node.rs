//! `podctl top node`: what this machine uses, of what it has.

use super::{INTERVAL, milli};
use crate::cli::output::{self, table::text};
use crate::cli::podctl::flags::parse_bool;
use crate::cli::podctl::{Call, Outcome, print, tell};
use crate::error::{Error, Result};
use crate::kube::table::Table;
use crate::kube::{Object, Quantity, Resource, Selector};
use crate::pod::NodeUsage;
use clap::Args;
use std::time::Instant;

/// Flags of `top node`.
#[derive(Args)]
pub struct Flags {
    /// The node
    name: Option<String>,
    /// Only a node with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Of what the machine has, and not of what pods may have of it
    #[arg(long)]
    show_capacity: bool,
    /// Order by cpu or memory, the most first
    #[arg(long, value_name = "FIELD")]
    sort_by: Option<String>,
    /// Accepted for kubectl's sake: nothing is asked of a server
    #[arg(long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", hide = true)]
    use_protocol_buffers: Option<bool>,
    /// Leave the headers out
    #[arg(long)]
    no_headers: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    super::checked(flags.sort_by.as_deref())?;
    if flags.name.is_some() && flags.selector.is_some() {
        return Err(Error::user("only one of NAME or selector can be provided").into());
    }
    let selector = flags.selector.as_deref().map(Selector::parse).transpose()?.unwrap_or_default();
    let own = call.engine.config.node.as_str();
    let name = flags.name.as_deref().unwrap_or(own);
    let node = call.engine.get_object(Resource::Nodes, "", name)?;
    if !selector.matches(node.metadata().labels.as_ref()) {
        tell(&output::none_found(None));
        return Ok(0);
    }
    let table = table(flags, &node)?;
    print(&text(&table, flags.no_headers))?;
    Ok(0)
}

/// What it uses, measured over one interval.
fn table(flags: &Flags, node: &Object) -> Result<Table> {
    let (before, began) = (NodeUsage::now()?, Instant::now());
    // A rate is seen only over some time; nothing could wake us earlier.
    std::thread::sleep(INTERVAL);
    let (now, elapsed) = (NodeUsage::now()?, began.elapsed());
    let used = milli(now.cpu.saturating_sub(before.cpu), elapsed);
    let (cpu, memory) = (u128::from(used), u128::from(now.memory));
    let whole = |name: &str| {
        let Object::Node(node) = node else { return 0 };
        let status = node.status.as_ref();
        let list = status.and_then(|status| match flags.show_capacity {
            true => status.capacity.as_ref(),
            false => status.allocatable.as_ref(),
        });
        let text = list.and_then(|list| list.get(name));
        let quantity = text.and_then(|text| Quantity::parse(&text.0).ok());
        quantity.map_or(0, |quantity| u128::try_from(quantity.milli()).unwrap_or(0))
    };
    let share = |part: u128, whole: u128| match whole {
        0 => "<unknown>".to_owned(),
        whole => format!("{}%", part * 100 / whole),
    };
    let row = vec![
        node.name().to_owned(),
        format!("{cpu}m"),
        share(cpu, whole("cpu")),
        format!("{}Mi", memory >> 20),
        share(memory * 1000, whole("memory")),
    ];
    let headers = ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"];
    Ok(Table { headers: headers.map(str::to_owned).to_vec(), rows: vec![row] })
}

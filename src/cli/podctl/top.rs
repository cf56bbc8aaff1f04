//! `podctl top`: what pods, their containers or this machine use right now.

mod node;

use super::flags::parse_bool;
use super::selection::Selection;
use super::{Call, Outcome, print, resource::part, tell};
use crate::cli::output::table::text;
use crate::error::{Error, Result};
use crate::kube::table::Table;
use crate::kube::{Object, Pod, Resource};
use crate::pod::Usage;
use clap::{Args, Subcommand};
use std::time::{Duration, Instant};

/// Between the two looks that tell how much of a processor is used.
const INTERVAL: Duration = Duration::from_millis(100);

/// Flags of `top`.
#[derive(Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show what pods use
    #[command(aliases = ["pods", "po"])]
    Pod(PodFlags),
    /// Show what this machine uses
    #[command(aliases = ["nodes", "no"])]
    Node(node::Flags),
}

#[derive(Args)]
struct PodFlags {
    /// The pod
    name: Option<String>,
    /// Pods of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Show each container
    #[arg(long)]
    containers: bool,
    /// Only pods with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Only pods with these fields
    #[arg(long, value_name = "SELECTOR")]
    field_selector: Option<String>,
    /// Order by cpu or memory, the most first
    #[arg(long, value_name = "FIELD")]
    sort_by: Option<String>,
    /// Add the sum of all
    #[arg(long)]
    sum: bool,
    /// Accepted for kubectl's sake: nothing is asked of a server
    #[arg(long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", hide = true)]
    use_protocol_buffers: Option<bool>,
    /// Leave the headers out
    #[arg(long)]
    no_headers: bool,
}

/// A line of the table.
struct Row {
    namespace: String,
    pod: String,
    container: String,
    /// Thousandths of a processor.
    milli: u64,
    bytes: u64,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    match &flags.what {
        What::Pod(flags) => of_pods(call, flags),
        What::Node(flags) => node::run(call, flags),
    }
}

fn checked(sort_by: Option<&str>) -> Result<()> {
    match sort_by {
        None | Some("" | "cpu" | "memory") => Ok(()),
        Some(_) => Err(Error::user("--sort-by accepts only cpu or memory")),
    }
}

fn of_pods(call: &Call, flags: &PodFlags) -> Outcome {
    checked(flags.sort_by.as_deref())?;
    let pods = pods(call, flags)?;
    if pods.is_empty() {
        tell(&crate::cli::output::none_found(
            (!flags.all_namespaces).then_some(call.namespace.as_str()),
        ));
        return Ok(0);
    }
    let mut rows = rows(call, flags, &pods)?;
    match flags.sort_by.as_deref() {
        Some("cpu") => rows.sort_by_key(|row| std::cmp::Reverse(row.milli)),
        Some("memory") => rows.sort_by_key(|row| std::cmp::Reverse(row.bytes)),
        _ => {}
    }
    let table = table(flags, &rows);
    print(&text(&table, flags.no_headers))?;
    Ok(0)
}

fn pods(call: &Call, flags: &PodFlags) -> Result<Vec<Pod>> {
    let (labels, fields) = (flags.selector.as_deref(), flags.field_selector.as_deref());
    if let Some(name) = &flags.name {
        if labels.is_some() || fields.is_some() {
            return Err(Error::user("only one of NAME or selector can be provided"));
        }
        return Ok(vec![call.engine.get(&call.namespace, name)?]);
    }
    let selection = Selection::parse(Resource::Pods, labels, fields)?;
    let namespace = (!flags.all_namespaces).then_some(call.namespace.as_str());
    let objects = call.engine.list_objects(Resource::Pods, namespace)?.into_iter();
    let pods =
        objects.filter(|object| selection.matches(object)).filter_map(|object| match object {
            Object::Pod(pod) => Some(*pod),
            _ => None,
        });
    Ok(pods.collect())
}

/// What all use, measured over one interval.
fn rows(call: &Call, flags: &PodFlags, pods: &[Pod]) -> Result<Vec<Row>> {
    let look = || pods.iter().map(|pod| call.engine.usage(pod)).collect::<Result<Vec<_>>>();
    let (before, began) = (look()?, Instant::now());
    // A rate is seen only over some time; nothing could wake us earlier.
    std::thread::sleep(INTERVAL);
    let (after, elapsed) = (look()?, began.elapsed());
    let mut rows = Vec::new();
    for ((pod, before), after) in pods.iter().zip(&before).zip(&after) {
        let row = |container: &str, usages: &[Usage]| {
            let milli = usages.iter().map(|usage| milli(used(before, usage), elapsed)).sum();
            Row {
                namespace: part(pod.metadata.namespace.as_ref()).to_owned(),
                pod: part(pod.metadata.name.as_ref()).to_owned(),
                container: container.to_owned(),
                milli,
                bytes: usages.iter().map(|usage| usage.memory).sum(),
            }
        };
        if flags.containers {
            let each = after.iter().map(|usage| row(&usage.container, std::slice::from_ref(usage)));
            rows.extend(each);
        } else if !after.is_empty() {
            rows.push(row("", after));
        }
    }
    Ok(rows)
}

fn used(before: &[Usage], now: &Usage) -> Duration {
    let before = before.iter().find(|usage| usage.container == now.container);
    now.cpu.saturating_sub(before.map_or(now.cpu, |before| before.cpu))
}

/// Thousandths of a processor.
fn milli(used: Duration, elapsed: Duration) -> u64 {
    let milli = used.as_nanos() * 1000 / elapsed.as_nanos().max(1);
    u64::try_from(milli).unwrap_or(u64::MAX)
}

fn table(flags: &PodFlags, rows: &[Row]) -> Table {
    let amounts = |milli: u64, bytes: u64| [format!("{milli}m"), format!("{}Mi", bytes >> 20)];
    let mut headers = Vec::new();
    if flags.all_namespaces {
        headers.push("NAMESPACE");
    }
    headers.extend(if flags.containers { &["POD", "NAME"][..] } else { &["NAME"] });
    headers.extend(["CPU(cores)", "MEMORY(bytes)"]);
    let names = headers.len() - 2;
    let mut cells: Vec<Vec<String>> = Vec::with_capacity(rows.len());
    for row in rows {
        let mut line = Vec::new();
        if flags.all_namespaces {
            line.push(row.namespace.clone());
        }
        line.push(row.pod.clone());
        if flags.containers {
            line.push(row.container.clone());
        }
        line.extend(amounts(row.milli, row.bytes));
        cells.push(line);
    }
    if flags.sum {
        let blank = || vec![String::new(); names];
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum();
        let line = ["________", "________"].map(str::to_owned);
        cells.push(blank().into_iter().chain(line).collect());
        let sums = amounts(sum(|row| row.milli), sum(|row| row.bytes));
        cells.push(blank().into_iter().chain(sums).collect());
    }
    Table { headers: headers.into_iter().map(str::to_owned).collect(), rows: cells }
}

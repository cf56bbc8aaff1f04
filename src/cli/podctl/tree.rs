//! `podctl tree`: a pod as its processes, drawn as pstree(1) draws them. The sandbox's pause is the
//! root; before a container's first process stands the container's name.

use super::{Call, Outcome, print, resource};
use crate::error::Error;
use crate::pod::ProcessNode;
use clap::Args;

/// Flags of `tree`.
#[derive(Args)]
pub struct Flags {
    /// The pod
    #[arg(value_name = "POD")]
    words: Vec<String>,
    /// Show whole command lines
    #[arg(short, long)]
    arguments: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let name = match flags.words.as_slice() {
        [name] => resource::name(name)?,
        // `tree pod web` as with the verbs of kubectl.
        [kind, name] => resource::name(&format!("{kind}/{name}"))?,
        _ => return Err(Error::user("expected 'tree POD'").into()),
    };
    let pod = call.engine.get(&call.namespace, &name)?;
    let tree = call.engine.processes(&pod)?;
    print(&draw(&tree, flags.arguments))?;
    Ok(0)
}

fn draw(root: &ProcessNode, arguments: bool) -> String {
    let mut out = String::new();
    if arguments {
        lines(root, "", ("", ""), &mut out);
    } else {
        compact(root, "", "", &mut out);
    }
    out
}

/// `web:` before a process whose parent is not of the same container.
fn container<'a>(node: &'a ProcessNode, parent: &str) -> (&'a str, &'static str) {
    if node.container == parent { ("", "") } else { (&node.container, ":") }
}

/// Children beside their parent, the first on its line; `margin` is what stands left of the
/// others.
fn compact(node: &ProcessNode, parent: &str, margin: &str, out: &mut String) {
    let (name, colon) = container(node, parent);
    let label = format!("{name}{colon}{}({})", node.name.replace(char::is_control, "?"), node.pid);
    out.push_str(&label);
    let margin = format!("{margin}{}", " ".repeat(label.chars().count()));
    let last = node.children.len().saturating_sub(1);
    for (index, child) in node.children.iter().enumerate() {
        let (joint, below) = match index {
            0 if last == 0 => ("---", "   "),
            0 => ("-+-", " | "),
            _ if index == last => (" `-", "   "),
            _ => (" |-", " | "),
        };
        if index > 0 {
            out.push_str(&margin);
        }
        out.push_str(joint);
        compact(child, &node.container, &format!("{margin}{below}"), out);
    }
    if node.children.is_empty() {
        out.push('\n');
    }
}

/// One process a line, with its whole command line, after `joint`; its children after `margin`.
fn lines(node: &ProcessNode, parent: &str, (joint, margin): (&str, &str), out: &mut String) {
    let command = if node.command.is_empty() { &node.name } else { &node.command };
    let command = command.replace(char::is_control, "?");
    let (name, colon) = container(node, parent);
    let space = if colon.is_empty() { "" } else { " " };
    out.push_str(&format!("{joint}{name}{colon}{space}{command} ({})\n", node.pid));
    let last = node.children.len().saturating_sub(1);
    for (index, child) in node.children.iter().enumerate() {
        let (joint, below) = if index == last { ("`-", "  ") } else { ("|-", "| ") };
        let (joint, below) = (format!("{margin}{joint}"), format!("{margin}{below}"));
        lines(child, &node.container, (&joint, &below), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(pid: i32, name: &str, container: &str, children: Vec<ProcessNode>) -> ProcessNode {
        let (command, name) = (format!("{name} -x"), name.to_owned());
        ProcessNode { pid, name, command, container: container.to_owned(), children }
    }

    #[test]
    fn draws_as_pstree() {
        let workers = vec![node(12, "nginx", "web", vec![]), node(13, "nginx", "web", vec![])];
        let web = node(11, "nginx", "web", workers);
        let log = node(14, "sh", "log", vec![node(15, "sleep", "log", vec![])]);
        let tree = node(10, "pause", "", vec![web, node(16, "sh", "aux", vec![]), log]);
        let compact = "\
pause(10)-+-web:nginx(11)-+-nginx(12)
          |               `-nginx(13)
          |-aux:sh(16)
          `-log:sh(14)---sleep(15)
";
        assert_eq!(draw(&tree, false), compact);
        let whole = "\
pause -x (10)
|-web: nginx -x (11)
| |-nginx -x (12)
| `-nginx -x (13)
|-aux: sh -x (16)
`-log: sh -x (14)
  `-sleep -x (15)
";
        assert_eq!(draw(&tree, true), whole);
    }
}

//! `podctl tree`: a pod as its processes, drawn as pstree(1) draws them. The sandbox's pause is the
//! root; before a container's first process stands the container's name.

use super::{Call, Outcome, print, resource};
use crate::cli::colours::{Colours, Tone};
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
    print(&draw(&tree, flags.arguments, Colours::of_stdout()))?;
    Ok(0)
}

fn draw(root: &ProcessNode, arguments: bool, colours: Colours) -> String {
    let mut drawing = Drawing { out: String::new(), colours };
    if arguments {
        drawing.lines(root, "", ("", ""));
    } else {
        drawing.compact(root, "", "");
    }
    drawing.out
}

struct Drawing {
    out: String,
    colours: Colours,
}

impl Drawing {
    /// Children beside their parent, the first on its line; `margin` is what stands left of the
    /// others.
    fn compact(&mut self, node: &ProcessNode, parent: &str, margin: &str) {
        let process = format!("{}({})", node.name.replace(char::is_control, "?"), node.pid);
        let width = self.container(node, parent) + process.chars().count();
        self.out.push_str(&process);
        let margin = format!("{margin}{}", " ".repeat(width));
        let last = node.children.len().saturating_sub(1);
        for (index, child) in node.children.iter().enumerate() {
            let (joint, below) = match index {
                0 if last == 0 => ("---", "   "),
                0 => ("-+-", " | "),
                _ if index == last => (" `-", "   "),
                _ => (" |-", " | "),
            };
            if index > 0 {
                self.out.push_str(&margin);
            }
            self.out.push_str(joint);
            self.compact(child, &node.container, &format!("{margin}{below}"));
        }
        if node.children.is_empty() {
            self.out.push('\n');
        }
    }

    /// One process a line, with its whole command line, after `joint`; its children after `margin`.
    fn lines(&mut self, node: &ProcessNode, parent: &str, (joint, margin): (&str, &str)) {
        let command = if node.command.is_empty() { &node.name } else { &node.command };
        let command = command.replace(char::is_control, "?");
        self.out.push_str(joint);
        let space = if self.container(node, parent) > 0 { " " } else { "" };
        self.out.push_str(&format!("{space}{command} ({})\n", node.pid));
        let last = node.children.len().saturating_sub(1);
        for (index, child) in node.children.iter().enumerate() {
            let (joint, below) = if index == last { ("`-", "  ") } else { ("|-", "| ") };
            let (joint, below) = (format!("{margin}{joint}"), format!("{margin}{below}"));
            self.lines(child, &node.container, (&joint, &below));
        }
    }

    /// `web:` before a process whose parent is not of the same container; how wide that is.
    fn container(&mut self, node: &ProcessNode, parent: &str) -> usize {
        if node.container == parent {
            return 0;
        }
        self.out.push_str(&self.colours.paint(Some(Tone::Name), &node.container));
        self.out.push(':');
        node.container.chars().count() + 1
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
        assert_eq!(draw(&tree, false, Colours::Off), compact);
        // What is painted is as wide.
        let painted = draw(&tree, false, Colours::On);
        assert!(painted.contains("\u{1b}[36mweb\u{1b}[0m:nginx(11)-+-"), "{painted}");
        assert_eq!(painted.replace("\u{1b}[36m", "").replace("\u{1b}[0m", ""), compact);
        let whole = "\
pause -x (10)
|-web: nginx -x (11)
| |-nginx -x (12)
| `-nginx -x (13)
|-aux: sh -x (16)
`-log: sh -x (14)
  `-sleep -x (15)
";
        assert_eq!(draw(&tree, true, Colours::Off), whole);
    }
}

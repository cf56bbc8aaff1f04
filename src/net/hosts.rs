//! The contents of a pod's `/etc/hosts` and `/etc/resolv.conf`, as the kubelet writes them. Pure:
//! the node's own files are parameters.

use std::fmt;
use std::net::IpAddr;

/// One of `spec.hostAliases`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAlias {
    /// Their address.
    pub ip: String,
    /// Names of it.
    pub hostnames: Vec<String>,
}

/// `/etc/hosts` of a pod with an address of its own; `domain` is that of a pod with a subdomain
/// (`<subdomain>.<namespace>.svc.<cluster domain>`).
pub fn hosts(
    ip: Option<IpAddr>,
    hostname: &str,
    domain: Option<&str>,
    aliases: &[HostAlias],
) -> String {
    let mut file = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let line = match (ip, domain) {
        (Some(ip), Some(domain)) => format!("{ip}\t{hostname}.{domain}\t{hostname}\n"),
        (Some(ip), None) => format!("{ip}\t{hostname}\n"),
        (None, _) => String::new(),
    };
    file.push_str(&line);
    file.push_str(&alias_block(aliases));
    file
}

/// `/etc/hosts` of a pod on the host's network; `node` is the node's own file.
pub fn hosts_of_node(node: &str, aliases: &[HostAlias]) -> String {
    let mut file = format!("# Kubernetes-managed hosts file (host network).\n{node}");
    file.push_str(&alias_block(aliases));
    file
}

fn alias_block(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let mut block = String::from("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        block.push_str(&alias.ip);
        block.push('\t');
        block.push_str(&alias.hostnames.join("\t"));
        block.push('\n');
    }
    block
}

/// What a resolv.conf says, and what `spec.dnsConfig` adds. Displayed as the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Addresses of name servers.
    pub nameservers: Vec<String>,
    /// Domains to try.
    pub searches: Vec<String>,
    /// `ndots:5`, `rotate`.
    pub options: Vec<String>,
}

/// resolv.conf(5) of glibc reads three name servers; the kubelet cuts there too.
const NAMESERVERS: usize = 3;
/// The kubelet's limit of search domains.
const SEARCHES: usize = 32;
/// The kubelet's limit of the search line's length, in bytes.
const SEARCH_LINE: usize = 2048;

impl Resolver {
    /// Reads a node's resolv.conf as the kubelet does: of several `search` lines the last counts.
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.nameservers.extend(words.next().map(str::to_owned)),
                Some("search") => {
                    resolver.searches = words.map(|name| name_of(name).to_owned()).collect();
                }
                Some("options") => resolver.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        resolver
    }

    /// Appends a pod's `dnsConfig`: servers and searches not there yet, options by name.
    #[must_use]
    pub fn with(mut self, config: &Self) -> Self {
        append_new(&mut self.nameservers, &config.nameservers);
        append_new(&mut self.searches, &config.searches);
        for option in &config.options {
            let key = option.split(':').next();
            self.options.retain(|own| own.split(':').next() != key);
            self.options.push(option.clone());
        }
        self.cut();
        self
    }

    /// The limits within which resolvers read the file.
    fn cut(&mut self) {
        self.nameservers.truncate(NAMESERVERS);
        self.searches.truncate(SEARCHES);
        while self.searches.join(" ").len() > SEARCH_LINE {
            self.searches.pop();
        }
    }
}

/// A trailing dot is dropped, but the root domain itself stays.
fn name_of(domain: &str) -> &str {
    if domain == "." { domain } else { domain.strip_suffix('.').unwrap_or(domain) }
}

fn append_new(own: &mut Vec<String>, more: &[String]) {
    for one in more {
        if !own.contains(one) {
            own.push(one.clone());
        }
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        for server in &self.nameservers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

/// `/etc/resolv.conf` of a pod. There is no cluster DNS on one machine, so `ClusterFirst` means
/// `Default`: the node's own, `node`; `None` starts empty. `config` is the pod's `dnsConfig`.
pub fn resolv_conf(policy: &str, node: &str, config: Option<&Resolver>) -> String {
    let base = if policy == "None" { Resolver::default() } else { Resolver::parse(node) };
    base.with(config.unwrap_or(&Resolver::default())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&one| one.to_owned()).collect()
    }

    #[test]
    fn hosts_end_with_the_pod_and_its_aliases() {
        let alias = HostAlias { ip: "10.1.2.3".into(), hostnames: strings(&["foo", "bar"]) };
        let file = hosts(Some([10, 88, 0, 5].into()), "web", None, &[alias]);
        let end = "fe00::2\tip6-allrouters\n10.88.0.5\tweb\n\n# Entries added by HostAliases.\n\
                   10.1.2.3\tfoo\tbar\n";
        assert!(file.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(file.ends_with(end), "{file}");
        let fqdn = hosts(Some([127, 0, 0, 1].into()), "web", Some("sub.ns.svc.cluster.local"), &[]);
        assert!(fqdn.ends_with("127.0.0.1\tweb.sub.ns.svc.cluster.local\tweb\n"), "{fqdn}");
        let node = hosts_of_node("127.0.0.1 localhost\n", &[]);
        let expected = "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n";
        assert_eq!(node, expected);
    }

    #[test]
    fn resolv_conf_follows_policy_and_config() {
        let node = "; made\nsearch old\nsearch corp.example. lab\nnameserver 10.0.0.53\n\
                    nameserver 10.0.0.54\noptions ndots:2 rotate\n";
        let config = Resolver {
            nameservers: strings(&["10.0.0.54", "1.1.1.1", "8.8.8.8"]),
            searches: strings(&["lab", "more"]),
            options: strings(&["ndots:5"]),
        };
        let cases = [
            (
                "ClusterFirst",
                None,
                "search corp.example lab\nnameserver 10.0.0.53\nnameserver 10.0.0.54\n\
                 options ndots:2 rotate\n",
            ),
            (
                "Default",
                Some(&config),
                "search corp.example lab more\nnameserver 10.0.0.53\nnameserver 10.0.0.54\n\
                 nameserver 1.1.1.1\noptions rotate ndots:5\n",
            ),
            (
                "None",
                Some(&config),
                "search lab more\nnameserver 10.0.0.54\nnameserver 1.1.1.1\nnameserver 8.8.8.8\n\
                 options ndots:5\n",
            ),
        ];
        for (policy, config, expected) in cases {
            assert_eq!(resolv_conf(policy, node, config), expected, "{policy}");
        }
    }
}

//! IPv4 subnets: the one of a bridge, and those that are taken. Pure.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    network: u32,
    /// Length of the prefix.
    pub prefix: u8,
}

impl Cidr {
    /// The subnet of `address` with that prefix, at most 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { network: address.to_bits() & mask(prefix), prefix }
    }

    /// The bridge's address, the first one.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network + 1)
    }

    /// The last address, which no host has.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network | !mask(self.prefix))
    }

    /// Whether they share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        let mask = mask(self.prefix.min(other.prefix));
        self.network & mask == other.network & mask
    }

    /// The addresses for pods, beginning after `last` and coming round.
    pub fn pods(&self, last: Option<Ipv4Addr>) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (first, end) = (self.network + 2, self.broadcast().to_bits());
        let start = last.map(|last| last.to_bits() + 1).filter(|next| (first..end).contains(next));
        let start = start.unwrap_or(first);
        (start..end).chain(first..start).map(Ipv4Addr::from_bits)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.network), self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::user(format!("invalid pod CIDR {text:?}: {why}"));
        let (address, prefix) = text.split_once('/').ok_or_else(|| bad("no prefix length"))?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad("not an IPv4 address"))?;
        let prefix: u8 = prefix.parse().map_err(|_| bad("not a prefix length"))?;
        // A bridge and at least one pod have to fit, and 0.0.0.0/0 would take every route.
        if !(8..=29).contains(&prefix) {
            return Err(bad("the prefix length must be between 8 and 29"));
        }
        Ok(Self::new(address, prefix))
    }
}

impl TryFrom<String> for Cidr {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

/// A subnet for pods: `asked`, if nobody has it, or the first of `candidates` that overlaps none of
/// those `used`.
pub fn free(
    asked: Option<Cidr>,
    mut candidates: impl Iterator<Item = Cidr>,
    used: &[Cidr],
) -> Result<Cidr> {
    if let Some(cidr) = asked {
        // Inside a wider subnet it may stand: whoever asks for it by name knows.
        let inside = |other: &&Cidr| other.prefix >= cidr.prefix && other.overlaps(&cidr);
        return match used.iter().find(inside) {
            None => Ok(cidr),
            Some(other) => Err(Error::user(format!("pod CIDR {cidr} is in use: {other}"))
                .hint("give another --pod-cidr, or none to have a free one chosen")),
        };
    }
    candidates.find(|cidr| !used.iter().any(|other| other.overlaps(cidr))).ok_or_else(|| {
        Error::system("every subnet for pods, from 10.88.0.0/16 to 10.255.0.0/16, is in use")
            .hint("give a free one by --pod-cidr")
    })
}

/// Where to look for a subnet: the default root begins with 10.88.0.0/16; another root begins
/// after it, at the place `start`, so that two that start at once hardly choose the same.
pub fn candidates(default_root: bool, start: u8) -> impl Iterator<Item = Cidr> + use<> {
    const FIRST: u8 = 88;
    const REST: u8 = 255 - FIRST;
    let subnet = |octet| Cidr::new(Ipv4Addr::new(10, octet, 0, 0), 16);
    let start = if default_root { 0 } else { start % REST };
    let rest = (start..REST).chain(0..start).map(move |place| subnet(FIRST + 1 + place));
    default_root.then_some(subnet(FIRST)).into_iter().chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_knows_its_addresses() {
        let cidr: Cidr = "10.88.3.7/16".parse().unwrap();
        assert_eq!(cidr.to_string(), "10.88.0.0/16");
        assert_eq!(cidr.gateway().to_string(), "10.88.0.1");
        assert_eq!(cidr.broadcast().to_string(), "10.88.255.255");
        let overlapping = ["10.88.4.0/24", "10.0.0.0/8", "10.88.0.0/16"];
        assert!(overlapping.iter().all(|text| cidr.overlaps(&text.parse().unwrap())));
        assert!(!cidr.overlaps(&"10.89.0.0/16".parse().unwrap()));
        assert!(cidr.overlaps(&Cidr::new(Ipv4Addr::UNSPECIFIED, 0)));
        for bad in ["10.88.0.0", "10.88.0.0/30", "10.88.0/16", "::/64", "10.0.0.0/7", "x/y"] {
            let error = bad.parse::<Cidr>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid pod CIDR {bad:?}: ")), "{error}");
        }
    }

    #[test]
    fn a_free_subnet_is_found_and_a_taken_one_refused() {
        let used: Vec<Cidr> = ["10.88.0.0/16", "10.90.1.0/24", "192.168.0.0/16"]
            .map(|text| text.parse().unwrap())
            .into();
        let find = |asked: Option<&str>, default_root| {
            let asked = asked.map(|text| text.parse().unwrap());
            free(asked, candidates(default_root, 1), &used).map(|cidr| cidr.to_string())
        };
        assert_eq!(find(None, true).unwrap(), "10.89.0.0/16");
        assert_eq!(find(None, false).unwrap(), "10.91.0.0/16");
        assert_eq!(find(Some("192.168.7.0/24"), true).unwrap(), "192.168.7.0/24");
        let error = find(Some("10.90.0.0/16"), true).unwrap_err().to_string();
        assert_eq!(error, "pod CIDR 10.90.0.0/16 is in use: 10.90.1.0/24");
        assert!(free(None, candidates(true, 0), &["10.0.0.0/8".parse().unwrap()]).is_err());
        let mut all: Vec<String> = candidates(false, 200).map(|cidr| cidr.to_string()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 167);
        assert!(!all.contains(&"10.88.0.0/16".to_owned()));
    }
}

//! Mount options, with runc's names.

use crate::sys::types::{AttrChange, Propagation, attr};

/// The options of one mount, sorted out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MountOptions<'a> {
    /// `bind` or `rbind`; true for the latter.
    pub bind: Option<bool>,
    /// Attributes of the mount.
    pub attr: AttrChange,
    /// Attributes of the mount and those below.
    pub tree_attr: AttrChange,
    /// Propagation; true for the recursive kind.
    pub propagation: Vec<(Propagation, bool)>,
    /// `runp.upper=tmpfs`.
    pub scratch: bool,
    /// `remount`.
    pub remount: bool,
    /// `tmpcopyup`.
    pub copy_up: bool,
    /// `idmap` or `ridmap`; true for the latter.
    pub id_map: Option<bool>,
    /// Whether a flag was set or cleared by name.
    pub named: bool,
    /// What is left: the file system's own, with their values.
    pub data: Vec<(&'a str, Option<&'a str>)>,
}

/// What an option does to attributes.
enum Effect {
    Set(u64),
    Clear(u64),
    /// One of the access time modes, which exclude each other.
    Atime(u64),
}

/// Flags of a whole file system: fsconfig(2) takes them by name, and for a bind mount they mean
/// nothing.
pub(super) const SUPER_BLOCK: [&str; 8] =
    ["sync", "dirsync", "silent", "lazytime", "nolazytime", "mand", "iversion", "noiversion"];

/// Sorts out the options; an error names the option and why it is refused.
pub(super) fn parse(options: &[String]) -> Result<MountOptions<'_>, String> {
    let mut parsed = MountOptions::default();
    for option in options {
        one(option, &mut parsed)?;
    }
    Ok(parsed)
}

fn one<'a>(option: &'a str, parsed: &mut MountOptions<'a>) -> Result<(), String> {
    match option {
        "bind" => parsed.bind = Some(parsed.bind.unwrap_or(false)),
        "rbind" => parsed.bind = Some(true),
        "runp.upper=tmpfs" => parsed.scratch = true,
        "remount" => parsed.remount = true,
        "tmpcopyup" => parsed.copy_up = true,
        "idmap" => parsed.id_map = Some(false),
        "ridmap" => parsed.id_map = Some(true),
        "" | "defaults" => {}
        // The kernel's defaults, or without meaning for a new mount.
        "async" | "loud" | "nomand" => parsed.named = true,
        "atime" => parsed.forget(attr::NOATIME),
        "norelatime" => parsed.forget(attr::RELATIME),
        "nostrictatime" => parsed.forget(attr::STRICTATIME),
        _ if SUPER_BLOCK.contains(&option) => {
            parsed.named = true;
            parsed.data.push((option, None));
        }
        "copy-symlink" => return Err(format!("{option} is not supported")),
        _ => {
            if let Some(propagation) = propagation(option) {
                parsed.propagation.push(propagation);
            } else if let Some(effect) = effect(option) {
                parsed.named = true;
                effect.apply(&mut parsed.attr);
            } else if let Some(effect) = option.strip_prefix('r').and_then(effect) {
                effect.apply(&mut parsed.tree_attr);
            } else {
                parsed.data.push(match option.split_once('=') {
                    Some((key, value)) => (key, Some(value)),
                    None => (option, None),
                });
            }
        }
    }
    Ok(())
}

impl MountOptions<'_> {
    /// Takes back an access time mode that was named before. Alone it asks for nothing, as with
    /// mount(8).
    fn forget(&mut self, mode: u64) {
        self.named = true;
        if self.attr.clear & attr::ATIME != 0 && self.attr.set & attr::ATIME == mode {
            self.attr.set &= !attr::ATIME;
            self.attr.clear &= !attr::ATIME;
        }
    }

    /// The attributes of a bind mount, and what to try where those of its source are locked. As with
    /// runc: where no flag is named, all are the source's; where one is, the mount has those named
    /// and no other. A user namespace may not clear what its parent has set; there the source keeps
    /// what was not cleared by name. Without an access time mode named, the source's stays.
    pub(super) fn of_bind(&self) -> (AttrChange, Option<AttrChange>) {
        const FLAGS: u64 =
            attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW;
        if !self.named {
            return (self.attr, None);
        }
        let AttrChange { set, clear } = self.attr;
        let times = match clear & attr::ATIME != 0 || set & attr::NODIRATIME != 0 {
            true => attr::ATIME | attr::NODIRATIME & !set,
            false => 0,
        };
        let exact = AttrChange { set, clear: FLAGS & !set | times };
        // NOSYMFOLLOW is never locked.
        let kept = AttrChange { set, clear: clear | attr::NOSYMFOLLOW & !set | times };
        (exact, Some(kept).filter(|kept| *kept != exact))
    }
}

/// Propagation by its name; true for the recursive kind.
pub(super) fn propagation(option: &str) -> Option<(Propagation, bool)> {
    let kinds =
        [Propagation::Private, Propagation::Shared, Propagation::Slave, Propagation::Unbindable];
    kinds.into_iter().find_map(|kind| match option.strip_suffix(kind.name()) {
        Some("") => Some((kind, false)),
        Some("r") => Some((kind, true)),
        _ => None,
    })
}

fn effect(option: &str) -> Option<Effect> {
    Some(match option {
        "ro" => Effect::Set(attr::RDONLY),
        "rw" => Effect::Clear(attr::RDONLY),
        "nosuid" => Effect::Set(attr::NOSUID),
        "suid" => Effect::Clear(attr::NOSUID),
        "nodev" => Effect::Set(attr::NODEV),
        "dev" => Effect::Clear(attr::NODEV),
        "noexec" => Effect::Set(attr::NOEXEC),
        "exec" => Effect::Clear(attr::NOEXEC),
        "nosymfollow" => Effect::Set(attr::NOSYMFOLLOW),
        "symfollow" => Effect::Clear(attr::NOSYMFOLLOW),
        "nodiratime" => Effect::Set(attr::NODIRATIME),
        "diratime" => Effect::Clear(attr::NODIRATIME),
        "noatime" => Effect::Atime(attr::NOATIME),
        "strictatime" => Effect::Atime(attr::STRICTATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => Effect::Atime(0),
        _ => return None,
    })
}

impl Effect {
    fn apply(self, change: &mut AttrChange) {
        let (set, clear) = match self {
            Self::Set(bits) => (bits, 0),
            Self::Clear(bits) => (0, bits),
            Self::Atime(mode) => (mode, attr::ATIME),
        };
        // The last option about a bit wins. Bits of the access time are always cleared as a whole.
        change.set = (change.set & !clear) | set;
        change.clear = (change.clear & !(set & !attr::ATIME)) | clear;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &str) -> (u64, u64) {
        let options: Vec<String> = options.split(',').map(String::from).collect();
        let parsed = parse(&options).unwrap();
        (parsed.attr.set, parsed.attr.clear)
    }

    #[test]
    fn the_last_option_wins() {
        assert_eq!(parsed("ro,rw"), (0, attr::RDONLY));
        assert_eq!(parsed("rw,ro"), (attr::RDONLY, 0));
        assert_eq!(parsed("noatime,strictatime"), (attr::STRICTATIME, attr::ATIME));
        assert_eq!(parsed("nosuid,nodev"), (attr::NOSUID | attr::NODEV, 0));
        assert_eq!(parsed("noatime,relatime"), (0, attr::ATIME));
    }

    #[test]
    fn a_bind_mount_has_the_flags_that_are_named() {
        use attr::{ATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, STRICTATIME};
        let of = |options: &str| {
            let options: Vec<String> = options.split(',').map(String::from).collect();
            let (exact, kept) = parse(&options).unwrap().of_bind();
            (exact.set, exact.clear, kept.map(|kept| kept.clear))
        };
        let all = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW;
        assert_eq!(of("rbind,rprivate"), (0, 0, None));
        assert_eq!(of("bind,rw"), (0, all, Some(RDONLY | NOSYMFOLLOW)));
        assert_eq!(of("bind,ro"), (RDONLY, all & !RDONLY, Some(NOSYMFOLLOW)));
        assert_eq!(of("bind,async"), (0, all, Some(NOSYMFOLLOW)));
        for nothing_of_times in
            ["atime", "norelatime", "noatime,atime", "strictatime,nostrictatime"]
        {
            assert_eq!(of(nothing_of_times), (0, all, Some(NOSYMFOLLOW)), "{nothing_of_times}");
        }
        let times = ATIME | NODIRATIME;
        assert_eq!(of("strictatime"), (STRICTATIME, all | times, Some(NOSYMFOLLOW | times)));
        assert_eq!(of("nodiratime"), (NODIRATIME, all | ATIME, Some(NOSYMFOLLOW | ATIME)));
        assert_eq!(of("diratime"), (0, all, Some(NOSYMFOLLOW | NODIRATIME)));
    }

    #[test]
    fn recursive_options_are_not_taken_for_plain_ones() {
        let options = ["rbind", "rro", "rprivate", "private", "relatime", "size=1k", "rw"];
        let options = options.map(String::from);
        let parsed = parse(&options).unwrap();
        assert_eq!(parsed.bind, Some(true));
        assert_eq!(parsed.tree_attr, AttrChange { set: attr::RDONLY, clear: 0 });
        assert_eq!(parsed.attr, AttrChange { set: 0, clear: attr::ATIME | attr::RDONLY });
        assert_eq!(
            parsed.propagation,
            [(Propagation::Private, true), (Propagation::Private, false)]
        );
        assert_eq!(parsed.data, [("size", Some("1k"))]);
        assert!(parse(&["tmpcopyup".into()]).unwrap().copy_up);
        assert!(parse(&["remount".into()]).unwrap().remount);
        assert_eq!(parse(&["ridmap".into()]).unwrap().id_map, Some(true));
    }
}

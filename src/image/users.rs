//! Users as an image's `/etc/passwd` and `/etc/group` define them; pure.
//!
//! A number is always a number, never the name of an account (CVE-2016-3697), and one above 2^31 - 1
//! is refused, not cut or taken for a name (CVE-2024-40635). Lines that are not what they should be
//! are passed over, as the C library does.

use crate::error::{Error, Result};
use std::collections::HashSet;

/// Larger files are refused: nobody's are, and they are read for every start.
pub(super) const MAX_FILE: u64 = 4 << 20;

/// Who a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// The primary group (CVE-2022-2989), then those that `/etc/group` lists the user in.
    pub groups: Vec<u32>,
}

/// Who is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The image's USER: `user[:group]`, each a name or a number; empty for root.
    pub image: &'a str,
    /// `runAsUser`, which overrides the image's user and group.
    pub uid: Option<i64>,
    /// `runAsGroup`, which overrides any group.
    pub gid: Option<i64>,
}

/// Looks `wanted` up in the contents of `/etc/passwd` and `/etc/group`.
pub fn resolve(wanted: Wanted<'_>, passwd: &[u8], group: &[u8]) -> Result<User> {
    let (user, image_group) = match wanted.uid {
        Some(_) => ("", None),
        None => match wanted.image.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (wanted.image, None),
        },
    };
    let uid = match wanted.uid {
        Some(uid) => Some(in_range(uid)?),
        None if user.is_empty() => Some(0),
        None => number(user)?,
    };
    let account = match uid {
        Some(uid) => accounts(passwd).find(|account| account.uid == i64::from(uid)),
        None => Some(accounts(passwd).find(|account| account.name == user.as_bytes()).ok_or_else(
            || {
                Error::user(format!(
                    "unable to find user {user}: no matching entries in passwd file"
                ))
            },
        )?),
    };
    let uid = match (uid, &account) {
        (Some(uid), _) => uid,
        (None, Some(account)) => in_range(account.uid)?,
        (None, None) => 0,
    };
    let gid = match (wanted.gid, image_group, &account) {
        (Some(gid), _, _) => in_range(gid)?,
        (None, Some(name), _) => group_id(name, group)?,
        (None, None, Some(account)) => in_range(account.gid)?,
        (None, None, None) => 0,
    };
    let mut groups = vec![gid];
    let name = account.map(|account| account.name).unwrap_or_default();
    for (_, gid, members) in entries(group) {
        if !name.is_empty() && members.split(|byte| *byte == b',').any(|member| member == name) {
            groups.push(in_range(gid)?);
        }
    }
    let mut seen = HashSet::new();
    groups.retain(|gid| seen.insert(*gid));
    Ok(User { uid, gid, groups })
}

struct Account<'a> {
    name: &'a [u8],
    uid: i64,
    gid: i64,
}

/// `name:password:uid:gid:…`, with name and numbers.
fn accounts(passwd: &[u8]) -> impl Iterator<Item = Account<'_>> {
    passwd.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (!name.is_empty()).then_some(Account { name, uid: decimal(uid)?, gid: decimal(gid)? })
    })
}

/// `name:password:gid:member,member`: name, number, members.
fn entries(group: &[u8]) -> impl Iterator<Item = (&[u8], i64, &[u8])> {
    group.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        (!name.is_empty()).then_some((name, decimal(gid)?, fields.next().unwrap_or_default()))
    })
}

fn group_id(name: &str, group: &[u8]) -> Result<u32> {
    if let Some(gid) = number(name)? {
        return Ok(gid);
    }
    let found = entries(group).find(|(other, _, _)| *other == name.as_bytes());
    let (_, gid, _) = found.ok_or_else(|| {
        Error::user(format!("unable to find group {name}: no matching entries in group file"))
    })?;
    in_range(gid)
}

/// A text of digits is a number, in range or refused; any other is a name.
fn number(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    in_range(text.parse().unwrap_or(i64::MAX)).map(Some)
}

fn decimal(text: &[u8]) -> Option<i64> {
    let text = str::from_utf8(text).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(i64::MAX))
}

fn in_range(id: i64) -> Result<u32> {
    let range = || Error::user("uids and gids must be in range 0-2147483647");
    i32::try_from(id).ok().and_then(|id| u32::try_from(id).ok()).ok_or_else(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n1000:x:0:0:trap:/:/bin/sh\n\
        # comment\nbroken\nweb:x:33:34:w:/:/bin/sh\nbig:x:4294967296:0::/:\nneg:x:-1:0::/:\n";
    const GROUP: &[u8] = b"root:x:0:\nweb:x:34:\nadm:x:4:web,root\nlog:x:5:web2\nssl:x:6:web\n";

    fn find(image: &str, uid: Option<i64>, gid: Option<i64>) -> Result<User> {
        resolve(Wanted { image, uid, gid }, PASSWD, GROUP)
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        for (image, uid, gid, wanted) in [
            ("", None, None, (0, 0, &[0, 4][..])),
            ("root", None, None, (0, 0, &[0, 4])),
            ("web", None, None, (33, 34, &[34, 4, 6])),
            ("33", None, None, (33, 34, &[34, 4, 6])),
            ("web:adm", None, None, (33, 4, &[4, 6])),
            ("web:7", None, None, (33, 7, &[7, 4, 6])),
            ("web:", None, None, (33, 34, &[34, 4, 6])),
            (":adm", None, None, (0, 4, &[4])),
            ("1000", None, None, (1000, 0, &[0])),
            ("12345:12345", None, None, (12345, 12345, &[12345])),
            ("web:adm", Some(1000), None, (1000, 0, &[0])),
            ("nobody-here", Some(33), None, (33, 34, &[34, 4, 6])),
            ("web", None, Some(9), (33, 9, &[9, 4, 6])),
            ("web", Some(0), Some(0), (0, 0, &[0, 4])),
            ("2147483647", None, None, (2_147_483_647, 0, &[0])),
        ] {
            let (uid_wanted, gid_wanted, groups) = wanted;
            let user = User { uid: uid_wanted, gid: gid_wanted, groups: groups.to_vec() };
            assert_eq!(find(image, uid, gid).unwrap(), user, "{image} {uid:?} {gid:?}");
        }
    }

    #[test]
    fn what_is_no_user_is_refused() {
        let range = "uids and gids must be in range 0-2147483647";
        for (image, uid, gid, why) in [
            ("2147483648", None, None, range),
            ("4294967296", None, None, range),
            ("99999999999999999999", None, None, range),
            ("0:4294967296", None, None, range),
            ("big", None, None, range),
            ("", Some(-1), None, range),
            ("", Some(4_294_967_296), None, range),
            ("", None, Some(2_147_483_648), range),
            ("ghost", None, None, "unable to find user ghost: no matching entries in passwd file"),
            ("-1", None, None, "unable to find user -1: no matching entries in passwd file"),
            ("+0", None, None, "unable to find user +0: no matching entries in passwd file"),
            ("neg", None, None, "unable to find user neg: no matching entries in passwd file"),
            (
                "web:ghost",
                None,
                None,
                "unable to find group ghost: no matching entries in group file",
            ),
        ] {
            let error = find(image, uid, gid).unwrap_err().to_string();
            assert_eq!(error, why, "{image} {uid:?} {gid:?}");
        }
        assert!(resolve(Wanted { image: "root", ..Wanted::default() }, b"", b"").is_err());
    }
}

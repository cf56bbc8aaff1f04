//! Who runs: `securityContext`, the image's USER, and the image's own user and group files.

use super::Credentials;
use crate::error::{Error, Result};
use crate::kube::Pod;
use k8s_openapi::api::core::v1::Container;

/// Ids above it are refused: one that wraps around to 0 somewhere is root (CVE-2024-40635).
const MAX_ID: i64 = i32::MAX as i64;

/// The process's user: securityContext first, then the image's USER, looked up in the rootfs's
/// `/etc/passwd` and `/etc/group` (`None` where there is no such file).
pub fn user(
    pod: &Pod,
    container: &Container,
    image_user: &str,
    passwd: Option<&str>,
    group: Option<&str>,
) -> Result<Credentials> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.clone());
    let of_pod = of_pod.unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let files = Files { passwd: passwd.unwrap_or_default(), group: group.unwrap_or_default() };
    let (name, group_name) = image_user.split_once(':').unwrap_or((image_user, ""));
    let entry = match own.run_as_user.or(of_pod.run_as_user) {
        Some(id) => files.by_id(check(id)?),
        None if name.is_empty() => files.by_id(0),
        None => files.by_name_or_id(name)?,
    };
    let gid = match own.run_as_group.or(of_pod.run_as_group) {
        Some(id) => check(id)?,
        // The image's group goes with the image's user alone.
        None if group_name.is_empty() || own.run_as_user.or(of_pod.run_as_user).is_some() => {
            entry.gid
        }
        None => files.group_id(group_name)?,
    };
    // The primary group is among them too: a process without it could be let in where the group
    // is shut out (CVE-2022-2989).
    let mut groups = vec![gid];
    groups.extend(files.groups_of(&entry.name));
    for id in of_pod.fs_group.into_iter().chain(of_pod.supplemental_groups.into_iter().flatten()) {
        groups.push(check(id)?);
    }
    let mut seen = Vec::new();
    groups.retain(|id| {
        !seen.contains(id) && {
            seen.push(*id);
            true
        }
    });
    Ok(Credentials { uid: entry.uid, gid, groups })
}

/// A line of `/etc/passwd`, or what stands for one that is missing.
struct Entry {
    name: String,
    uid: u32,
    gid: u32,
}

/// The image's own files; lines that cannot be read are skipped, as libc does.
struct Files<'a> {
    passwd: &'a str,
    group: &'a str,
}

impl Files<'_> {
    fn entries(&self) -> impl Iterator<Item = Entry> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid, gid) =
                (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let name = name.to_owned();
            Some(Entry { name, uid: uid.parse().ok()?, gid: gid.parse().ok()? })
        })
    }

    /// Group 0 for a user that the image does not know.
    fn by_id(&self, uid: u32) -> Entry {
        let unknown = Entry { name: String::new(), uid, gid: 0 };
        self.entries().find(|entry| entry.uid == uid).unwrap_or(unknown)
    }

    /// A number is an id, never a name that looks like one (CVE-2016-3697).
    fn by_name_or_id(&self, name: &str) -> Result<Entry> {
        if let Some(id) = number(name) {
            return Ok(self.by_id(check(id?)?));
        }
        let entry = self.entries().find(|entry| entry.name == name);
        entry.ok_or_else(|| {
            Error::user(format!("unable to find user {name}: no matching entries in passwd file"))
        })
    }

    fn group_id(&self, name: &str) -> Result<u32> {
        if let Some(id) = number(name) {
            return check(id?);
        }
        let group = self.groups().find(|(known, ..)| *known == name);
        let missing = || {
            Error::user(format!("unable to find group {name}: no matching entries in group file"))
        };
        group.map(|(_, gid, _)| gid).ok_or_else(missing)
    }

    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
            Some((name, gid.parse().ok()?, fields.next().unwrap_or_default()))
        })
    }

    fn groups_of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.groups()
            .filter(move |(_, _, members)| {
                !user.is_empty() && members.split(',').any(|member| member == user)
            })
            .map(|(_, gid, _)| gid)
    }
}

/// Text of digits alone is a number, however large.
fn number(text: &str) -> Option<Result<i64>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().map_err(|_| out_of_range(text)))
}

fn check(id: i64) -> Result<u32> {
    match u32::try_from(id) {
        Ok(number) if id <= MAX_ID => Ok(number),
        _ => Err(out_of_range(id)),
    }
}

fn out_of_range(id: impl std::fmt::Display) -> Error {
    Error::user(format!("uids and gids must be in range 0-{MAX_ID}: {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n\
                          www:x:33:34::/:\n1000:x:0:0:not root at all:/:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:50:www,other\nmail:x:60:other,www\n";

    fn ids(pod: Value, container: Value, image: &str) -> Result<(u32, u32, Vec<u32>)> {
        let pod = json!({"spec": {"containers": [], "securityContext": pod}});
        let container = json!({"name": "c", "securityContext": container});
        let pod = serde_json::from_value(pod).unwrap();
        let container = serde_json::from_value(container).unwrap();
        let found = user(&pod, &container, image, Some(PASSWD), Some(GROUP))?;
        Ok((found.uid, found.gid, found.groups))
    }

    #[test]
    fn users_and_groups() {
        let none = || json!({});
        let cases = [
            (none(), none(), "", (0, 0, vec![0])),
            (none(), none(), "www", (33, 34, vec![34, 50, 60])),
            (none(), none(), "33", (33, 34, vec![34, 50, 60])),
            (none(), none(), "www:mail", (33, 60, vec![60, 50])),
            (none(), none(), "7:8", (7, 8, vec![8])),
            // Not the user who is called so.
            (none(), none(), "1000", (1000, 0, vec![0])),
            (json!({"runAsUser": 33}), none(), "7:8", (33, 34, vec![34, 50, 60])),
            (json!({"runAsUser": 33}), json!({"runAsUser": 5}), "", (5, 0, vec![0])),
            (json!({"runAsGroup": 9}), none(), "www", (33, 9, vec![9, 50, 60])),
            (
                json!({"fsGroup": 200, "supplementalGroups": [50, 201]}),
                none(),
                "www",
                (33, 34, vec![34, 50, 60, 200, 201]),
            ),
        ];
        for (pod, container, image, expected) in cases {
            let shown = format!("{pod} {container} {image}");
            assert_eq!(ids(pod, container, image).unwrap(), expected, "{shown}");
        }
    }

    #[test]
    fn what_could_become_root_is_refused() {
        let images =
            ["nobody", "www:nogroup", "4294967296", "2147483648:0", "-1", "99999999999999999999"];
        for image in images {
            assert!(ids(json!({}), json!({}), image).is_err(), "{image}");
        }
        assert!(ids(json!({"runAsUser": -1}), json!({}), "").is_err());
        assert!(ids(json!({"runAsUser": 4_294_967_296_i64}), json!({}), "").is_err());
        assert!(ids(json!({"fsGroup": -1}), json!({}), "").is_err());
    }
}

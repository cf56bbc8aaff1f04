//! cp against a container that lies, and port-forward under many connections and to its end.

use super::terminal::{down, lo, up};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tar::{Builder, EntryType, Header};

/// An archive whose names are as they are given.
fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o6777);
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, &[][..]).unwrap();
            continue;
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Every path below, sorted.
fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(dir).unwrap().display().to_string());
            if path.symlink_metadata().unwrap().is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn cp_keeps_a_lying_tar_below_the_destination() {
    let Some(case) = up() else { return };
    let dir = case.0.path();
    let path = |name: &str| -> PathBuf { dir.join(name) };
    fs::create_dir_all(path("canary")).unwrap();
    fs::create_dir_all(path("here/out")).unwrap();
    fs::write(path("canary/file"), "canary").unwrap();
    // Left there by somebody before.
    symlink(path("canary"), path("here/out/planted")).unwrap();
    symlink(path("canary/file"), path("here/out/file")).unwrap();
    let canary = path("canary").display().to_string();
    let absolute = format!("{canary}/abs");
    let evil = archive(&[
        ("x/good", EntryType::Regular, "good"),
        ("../escaped", EntryType::Regular, "evil"),
        ("x/../../escaped", EntryType::Regular, "evil"),
        (&absolute, EntryType::Regular, "evil"),
        ("x/link", EntryType::Symlink, &canary),
        ("x/link/in", EntryType::Regular, "own"),
        ("x/planted/in", EntryType::Regular, "evil"),
        ("x/file", EntryType::Regular, "evil"),
        ("x/hard", EntryType::Link, "/etc/passwd"),
        ("x/fifo", EntryType::Fifo, ""),
        ("x/device", EntryType::Char, ""),
        ("x/last", EntryType::Regular, "last"),
    ]);
    fs::write(path("evil.tar"), evil).unwrap();
    let script = "cat > /evil.tar; tar=$(command -v tar); rm $tar; \
                  printf '#!/bin/sh\\nexec cat /evil.tar\\n' > $tar; chmod +x $tar";
    let mut put = case.command("exec -i web -- sh -c");
    let put = put.arg(script).stdin(fs::File::open(path("evil.tar")).unwrap()).status().unwrap();
    assert!(put.success());
    let (status, out, err) = case.run("cp web:/x here/out");
    assert_eq!((status, out.as_str()), (0, ""), "{err}");
    let expected = ["file", "good", "last", "link", "link/in", "planted"];
    assert_eq!(tree(&path("here/out")), expected, "{err}");
    assert_eq!(tree(&path("here")).len(), expected.len() + 1);
    assert_eq!(tree(&path("canary")), ["file"]);
    assert_eq!(fs::read_to_string(path("canary/file")).unwrap(), "canary");
    assert!(!path("escaped").exists() && !path("link").exists());
    assert!(path("here/out/link").symlink_metadata().unwrap().is_dir());
    let mode = fs::metadata(path("here/out/last")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7000, 0, "no setuid program of the container's");
    for told in ["outside target destination", "skipping link", "special file", "no directory"] {
        assert!(err.contains(told), "{told}: {err}");
    }
    down(&case);
}

#[test]
fn cp_into_a_link_stays_in_the_container() {
    let Some(case) = up() else { return };
    let there = format!("podctl-cp-{}", std::process::id());
    case.file(&there, "inside");
    let done = |line: &str| {
        let (status, out, err) = case.run(line);
        assert_eq!(status, 0, "{line}: {err}");
        out
    };
    done("exec web -- ln -s /etc /link");
    done(&format!("cp {there} web:/link/{there}"));
    assert_eq!(done(&format!("exec web -- cat /etc/{there}")), "inside");
    assert!(!Path::new("/etc").join(&there).exists(), "the host's own /etc");
    down(&case);
}

/// Answers what it is told, each connection in a process of its own.
const ECHO: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: echo}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: a
    image: host
    command:
    - perl
    - -MIO::Socket::INET
    - -e
    - |
      $server = IO::Socket::INET->new(LocalPort => 9000, Listen => 64, ReuseAddr => 1) or die;
      $SIG{CHLD} = 'IGNORE';
      while ($client = $server->accept) {
        if (fork) { close $client; next }
        while (sysread $client, $bytes, 65536) {
          $at = 0;
          $at += syswrite $client, $bytes, 65536, $at while $at < length $bytes;
        }
        exit;
      }
    readinessProbe: {tcpSocket: {port: 9000}, periodSeconds: 1}
";

#[test]
fn port_forward_carries_many_connections_until_the_pod_ends() {
    let Some(case) = up() else { return };
    lo();
    case.file("echo.yaml", ECHO);
    let done = |line: &str| {
        let (status, _, err) = case.run(line);
        assert_eq!(status, 0, "{line}: {err}");
    };
    done("apply -f echo.yaml");
    done("wait --for=condition=Ready pod/echo --timeout=60s");
    let mut forward = case.command("port-forward echo :9000 --address=127.0.0.1");
    let mut forward = forward.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(forward.stdout.take().unwrap());
    let mut first = String::new();
    said.read_line(&mut first).unwrap();
    let port = first.strip_prefix("Forwarding from 127.0.0.1:").unwrap();
    let port: u16 = port.strip_suffix(" -> 9000\n").unwrap().parse().unwrap();
    let rest = std::thread::spawn(move || said.lines().count());
    std::thread::scope(|scope| {
        for number in 0..30_u8 {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let sent = vec![number; 200_000];
                let mut writing = stream.try_clone().unwrap();
                let copy = sent.clone();
                let writer = std::thread::spawn(move || {
                    writing.write_all(&copy).unwrap();
                    // The echo answers up to our end, and ends itself then.
                    writing.shutdown(Shutdown::Write).unwrap();
                });
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap();
                writer.join().unwrap();
                assert!(back == sent, "{number}: {} bytes came back", back.len());
            });
        }
    });
    done("delete pod echo");
    let ended = forward.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "error: lost connection to pod\n");
    assert_eq!(rest.join().unwrap(), 30, "a line for each connection");
    down(&case);
}

//! The rules of RFC 9111 stand alone: with `http` and the standard library they compile and pass
//! their own tests, as if they were a crate of their own, and they neither wait nor look at a clock.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "what a crate of their own would make public is unused here"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

/// Here `crate` is this file: whatever the rules took from the rest would not be found.
#[path = "../src/rfc9111/mod.rs"]
mod rfc9111;

/// Each file of the rules with its code, comments left out.
fn sources() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rfc9111");
    let mut sources: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, code.collect::<Vec<_>>().join("\n"))
        })
        .collect();
    sources.sort();
    sources
}

/// The trees of all `use` declarations, on one line each.
fn uses(code: &str) -> Vec<String> {
    let statements = code.split(';').filter_map(|statement| {
        let mut words = statement.split_whitespace().skip_while(|word| *word != "use");
        words.next().map(|_| words.collect::<Vec<_>>().join(" "))
    });
    statements.filter(|tree| tree.contains("::")).collect()
}

/// Every name that stands before a `::`, with what follows up to the next mark.
fn paths(code: &str) -> Vec<(String, String)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices("::")
        .map(|(at, _)| {
            let before = code[..at].rsplit(|c| !is_word(c)).next().unwrap_or_default();
            let after = code[at + 2..].split(|c| !is_word(c)).next().unwrap_or_default();
            (before.to_owned(), after.to_owned())
        })
        .collect()
}

/// What the rest of the crate is made of, and the crate itself.
fn others() -> BTreeSet<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").unwrap();
    let names = dependencies.lines().take_while(|line| !line.starts_with('['));
    let names = names.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let names = names.filter(|name| *name != "http").chain(["crate", "seawall"]);
    names.map(|name| name.replace('-', "_")).collect()
}

#[test]
fn the_rules_use_only_std_http_and_each_other() {
    let sources = sources();
    let modules: BTreeSet<_> = sources.iter().map(|(name, _)| name.as_str()).collect();
    let (others, mut seen) = (others(), 0);
    assert!(others.contains("tokio") && others.contains("http_body"), "{others:?}");
    for (file, code) in &sources {
        for tree in uses(code) {
            let root = tree.split("::").next().unwrap_or_default();
            let is_own = matches!(root, "std" | "http" | "super" | "self")
                || (file == "mod" && modules.contains(root))
                || root.starts_with(char::is_uppercase);
            assert!(is_own, "{file} uses {tree}");
            seen += 1;
        }
        for (name, _) in paths(code) {
            assert!(!others.contains(&name), "{file} names {name}");
        }
    }
    assert!(seen > sources.len(), "too few declarations were found for all files to be read");
}

#[test]
fn the_rules_do_no_io_and_read_no_clock() {
    for (file, code) in sources() {
        for (name, item) in paths(&code) {
            let what = format!("{name}::{item}");
            let reads_a_clock = item == "now" || name == "Instant" || item == "Instant";
            let does_io = name == "std"
                && matches!(item.as_str(), "env" | "fs" | "io" | "net" | "process" | "thread");
            assert!(!reads_a_clock && !does_io, "{file} names {what}");
        }
        assert!(!code.contains("async ") && !code.contains(".await"), "{file} waits");
        assert!(
            !code.contains("static mut") && !code.contains("thread_local!"),
            "{file} keeps state"
        );
    }
}

#[test]
fn every_file_is_in_the_table_of_the_module_and_names_its_section() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rfc9111");
    let read = |name: &str| fs::read_to_string(folder.join(format!("{name}.rs"))).unwrap();
    let table = read("mod");
    for (file, _) in sources().into_iter().filter(|(file, _)| file != "mod" && file != "rows") {
        let row = table.lines().find(|line| line.starts_with(&format!("//! | `{file}` |")));
        let row = row.unwrap_or_else(|| panic!("{file} is not in the table"));
        let law = |text: &str| text.contains('§') || text.contains("RFC ");
        if file != "profile" {
            assert!(law(row), "{row}");
            let text = read(&file);
            let opening = text.lines().take_while(|line| line.starts_with("//!"));
            assert!(opening.collect::<Vec<_>>().iter().any(|line| law(line)), "{file}");
        }
    }
}

#[test]
fn every_test_of_a_rule_is_named_by_its_section() {
    for (file, code) in sources().into_iter().filter(|(file, _)| file != "profile") {
        let mut lines = code.lines();
        while let Some(line) = lines.next() {
            if line.trim() == "#[test]" {
                let name = lines.next().unwrap_or_default().trim().trim_start_matches("fn ");
                let prefix = name.strip_prefix("section_").or_else(|| name.strip_prefix("rfc"));
                let numbered =
                    prefix.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                assert!(numbered, "{file}: {name}");
            }
        }
    }
}

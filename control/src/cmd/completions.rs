//! `ares completions` and `ares man`: what shells and manual readers know of the program, made from the very definitions that parse it.

use std::path::Path;

use clap::CommandFactory as _;

use crate::error::{Failure, Kind, exit_code_table};
use crate::lowargs::{CompletionsArgs, LowArgs, ManArgs};
use crate::render;

/// A script for the shell on stdout.
pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut LowArgs::command(), "ares", &mut script);
    render::stdout(&script).map(|_open| ())
}

/// A manual page on stdout, or all of them in a directory.
pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    let pages = pages();
    if let Some(dir) = &args.dir {
        return write(dir, &pages);
    }
    let name = args
        .command
        .as_ref()
        .map_or("ares".to_owned(), |command| format!("ares-{command}"));
    match pages.iter().find(|page| page.name == name) {
        Some(page) => render::stdout(&page.roff).map(|_open| ()),
        None => {
            Err(Failure::new(Kind::Usage, format!("no manual page `{name}`")).help("name a subcommand; `ares help` lists them"))
        }
    }
}

/// A page of section 1.
struct Page {
    name: String,
    roff: Vec<u8>,
}

fn pages() -> Vec<Page> {
    let mut program = LowArgs::command();
    program.build();
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set());
    let subcommands: Vec<clap::Command> = shown.cloned().collect();
    let mut pages = vec![page("ares".to_owned(), program)];
    for command in subcommands {
        let name = format!("ares-{}", command.get_name());
        pages.push(page(name, command));
    }
    pages
}

fn page(name: String, command: clap::Command) -> Page {
    let mut roff = Vec::new();
    let source = format!("ares {}", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(command).manual("Ares 2P2").source(source).date("");
    man.render(&mut roff).expect("memory takes what is written to it");
    let table = exit_code_table();
    roff.extend(b".SH \"EXIT STATUS\"\n.nf\n");
    for line in table.lines() {
        roff.extend(format!("\\&{}\n", line.replace('\\', "\\\\").replace('-', "\\-")).into_bytes());
    }
    roff.extend(b".fi\n");
    Page { name, roff }
}

fn write(dir: &Path, pages: &[Page]) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|e| Failure::io("creating", dir, &e))?;
    for page in pages {
        let path = dir.join(format!("{}.1", page.name));
        std::fs::write(&path, &page.roff).map_err(|e| Failure::io("writing", &path, &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page_that_names_its_flags_and_none_is_left_out_of_a_completion() {
        let mut program = LowArgs::command();
        program.build();
        let pages = pages();
        for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = format!("ares-{}", command.get_name());
            let page = pages
                .iter()
                .find(|page| page.name == name)
                .unwrap_or_else(|| panic!("{name}"));
            let text = String::from_utf8(page.roff.clone()).expect("text");
            for flag in command
                .get_arguments()
                .filter_map(|arg| arg.get_long())
                .filter(|flag| *flag != "detached-child")
            {
                assert!(text.contains(&flag.replace('-', "\\-")), "{name} without --{flag}");
            }
            assert!(text.contains("EXIT STATUS") && text.contains(".SH"), "{name}");
        }
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut LowArgs::command(), "ares", &mut script);
        let script = String::from_utf8(script).expect("text");
        for command in LowArgs::command().get_subcommands() {
            assert!(script.contains(command.get_name()), "{}", command.get_name());
        }
    }
}

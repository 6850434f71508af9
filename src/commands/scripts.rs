//! `afterplay completions` and `afterplay man`, for packagers.

use clap::CommandFactory;

use super::{ExitError, Screen};
use crate::cli::{Cli, CompletionsArgs, ManArgs};

const NAME: &str = "afterplay";

/// Prints the completion script of a shell.
pub(super) fn completions(args: &CompletionsArgs, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    // The generator panics where its writer fails, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    screen.out.write_all(&script)?;
    Ok(())
}

/// Prints the main manual page, or writes a page for every command into a folder.
pub(super) fn man(args: &ManArgs, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    let Some(dir) = &args.dir else {
        clap_mangen::Man::new(Cli::command()).render(&mut screen.out)?;
        return Ok(());
    };
    std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir)).map_err(
        |error| ExitError::failed(format!("cannot write the manual pages into {}: {error}", dir.display())),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Command;
    use crate::commands::fake::screen;

    fn run(args: &[&str]) -> (Result<(), ExitError>, String) {
        let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), &b""[..]);
        let line = std::iter::once(NAME).chain(args.iter().copied());
        let result = match Cli::parse_from(line).command {
            Command::Completions(args) => completions(&args, &mut screen(&mut out, &mut err, &mut input)),
            Command::Man(args) => man(&args, &mut screen(&mut out, &mut err, &mut input)),
            _ => panic!(),
        };
        (result, String::from_utf8(out).unwrap())
    }

    #[test]
    fn completions_know_the_commands() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let (result, script) = run(&["completions", shell]);
            assert_eq!(result, Ok(()));
            assert!(script.contains("quarantined") && script.contains("discard"), "{shell}");
        }
    }

    #[test]
    fn a_manual_page_for_every_command() {
        let (_, page) = run(&["man"]);
        assert!(page.contains(".TH afterplay 1"), "{page}");
        let dir = tempfile::tempdir().unwrap();
        let pages = dir.path().join("new/man1");
        let (result, _) = run(&["man", "--dir", pages.to_str().unwrap()]);
        assert_eq!(result, Ok(()));
        for command in Cli::command().get_subcommands() {
            assert!(
                pages.join(format!("afterplay-{}.1", command.get_name())).is_file(),
                "{}",
                command.get_name()
            );
        }
        std::fs::write(dir.path().join("file"), "").unwrap();
        let (result, _) = run(&["man", "--dir", dir.path().join("file").to_str().unwrap()]);
        assert!(result.unwrap_err().message.unwrap().starts_with("cannot write the manual pages into "));
    }
}

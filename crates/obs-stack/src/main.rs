//! Writes what is made from the registry: `just registry`.

use std::{error::Error, fs, process::ExitCode};

use obs_stack::{Registry, generate, root};

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<(), Box<dyn Error>> {
    let root = root();
    let registry = Registry::read(&root)?;
    for file in generate(&root, &registry)? {
        let path = root.join(file.path);
        if fs::read_to_string(&path).is_ok_and(|before| before == file.text) {
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, file.text)?;
        say(format_args!("wrote {}", file.path));
    }
    Ok(())
}

fn complain(error: &dyn Error) {
    say(format_args!("{error}"));
    let mut source = error.source();
    while let Some(cause) = source {
        say(format_args!("  because: {cause}"));
        source = cause.source();
    }
}

fn say(what: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    // Nobody to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{what}");
}

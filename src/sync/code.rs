//! rsync's exit codes: what each means to the person who reads it, and which are worth another try.

/// A source changed while it was read: the rest is done.
pub(super) const VANISHED: i32 = 24;
/// Some of it could not be transferred.
pub(super) const PARTIAL: i32 = 23;

/// What an exit code of rsync means, in one sentence that says where to look.
pub fn meaning(code: i32) -> &'static str {
    match code {
        1 => "rsync did not understand its arguments; look at what follows `--`",
        2 => "the two ends speak different protocol versions; one of them is very old",
        3 => "a source or destination could not be selected; it may not exist or not be readable",
        4 => "the other end's rsync cannot do what was asked; it is older or built without it",
        5 => "the daemon refused the connection: module, user or password",
        6 => "the daemon cannot write to its log file",
        10 => "the connection broke or was refused; is the other end up?",
        11 => "reading or writing a file failed; is the destination's file system full, read-only or missing?",
        12 => "the connection ended early; does the remote shell start rsync, and print nothing else?",
        13 => "rsync could not report an error of the other end",
        14 => "a program could not be started; is the remote shell installed?",
        16 | 19 | 20 => "rsync was stopped by a signal",
        21 => "a process of rsync ended in an unknown way",
        22 => "rsync could not get enough memory",
        23 => {
            "some files could not be read or written; the others were copied, and after a read error nothing was deleted"
        }
        24 => "some files vanished from the source while it was read; the rest is done",
        25 => {
            "more would have been deleted than was counted beforehand, and rsync stopped deleting; look at the source"
        }
        30 => "no data came for longer than --timeout",
        35 => "the daemon did not answer within --contimeout",
        124 => "the command on the other end ended with an error of its own",
        125 => "the command on the other end was killed",
        126 => "the command on the other end cannot be run",
        127 => "the command on the other end was not found; is rsync installed there?",
        255 => "the remote shell could not connect; try it by hand",
        _ => "rsync failed",
    }
}

/// The same of a dry run, which copies nothing.
pub fn meaning_of_count(code: i32) -> &'static str {
    if code == PARTIAL { "the source or part of it could not be read" } else { meaning(code) }
}

/// Whether the next try may do better: lost connections and time-outs, which come and go.
pub fn worth_retrying(code: i32) -> bool {
    matches!(code, 5 | 10 | 12 | 30 | 35 | 255)
}

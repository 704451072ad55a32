"""Everything that Glacier raises for a user's mistake or a failed promise.

    GlacierError
    ├── DefinitionError            the pipeline as written cannot work; raised when it is made
    │   ├── DependencyError        (TypeError)   depends_on holds something that is not a Task
    │   ├── OptionError            (TypeError)   an option, executor or keyword that does not exist
    │   ├── ArgumentsError         (TypeError)   a task is called with arguments that it cannot take
    │   ├── PlaceholderError       (TypeError)   a value that exists only during the run is used before it
    │   ├── CycleError             (ValueError)  tasks wait for each other
    │   ├── NameTakenError         (ValueError)  two different things under one name
    │   ├── PathError              (ValueError)  a path, its fields or a value put into them
    │   ├── FormatError            (ValueError)  a file format that is not known
    │   └── OverlapError           (ValueError)  one location read and written with no order between the two
    ├── UsageError                 (ValueError)  a command line or call that cannot be carried out
    ├── ConfigurationError         (ValueError)  a setting is missing or contradicts another
    │   └── StateNotShared                       the state is on this machine only, and must not be
    ├── DataError                  (ValueError)  the data is not what was declared
    │   ├── CheckError                           a check on rows failed; nothing was published
    │   ├── SchemaError                          columns or types differ from the declared schema
    │   ├── UnreadableError                      a file is damaged, cut short, or of another format
    │   └── TravelError            (TypeError)   a value that cannot leave the process
    ├── SourceNotFoundError        (FileNotFoundError)
    ├── SourceChangedError         (RuntimeError)  what is read was replaced each time that it was read
    ├── StoreError                 (OSError)  a store refused a call, or did not answer it
    │   ├── BucketNotFoundError                  (SourceNotFoundError)  there is no such bucket
    │   ├── StoreDenied            (PermissionError)  the credentials in use may not do it, or are no longer good
    │   └── StoreUnreachable       (ConnectionError)  it did not answer, or only with errors, until patience ended
    ├── SinkExistsError            (FileExistsError)
    ├── NotAvailableError          (RuntimeError)  exists in Glacier, not in this version or installation
    ├── RemoteFailed               (RuntimeError)  a task's run on a service failed, or was cancelled
    │   └── RemoteDenied                         the service does not take the credentials; the run goes on
    ├── RemoteUnreachable          (ConnectionError)  a service that runs tasks does not answer
    ├── ApiUnreachable             (ConnectionError)  a configured Prefect API does not answer
    ├── ApiRequired                (RuntimeError)  something needs a Prefect API and none is configured
    ├── PreviewError               (PermissionError)  a preview would touch its environment's data, or may not be made
    ├── DeployRefused              (PermissionError)  a deploy would touch what is not Glacier's, or delete too much
    │   └── PlanChanged                          it would do something else than what was shown before
    ├── DeployLocked               (BlockingIOError)  another deploy of the same environment runs
    ├── DeployFailed               (RuntimeError)  Prefect refused a call of a deploy, or did not answer it
    ├── BuildFailed                (RuntimeError)  an image with the code could not be built or pushed
    ├── NeedsBootstrap             (PermissionError)  infrastructure needs what `glacier bootstrap` has not granted
    ├── TerraformMissing           (FileNotFoundError)  there is no such program
    ├── TerraformTooOld            (RuntimeError)  the program is older than what the modules need
    ├── TerraformFailed            (RuntimeError)  a Terraform command failed
    │   ├── BackendChanged                       the state is in another place than the configuration says
    │   ├── StateLocked                          someone else works on the same state
    │   ├── PlanStale                            the state has changed since the plan was made
    │   └── ApplyFailed                          a part of a plan could not be done
    └── DataLossRefused            (PermissionError)  what holds data would be destroyed, and nobody allowed it

Each class also derives from the builtin that a caller would expect. This module imports nothing of Glacier but types.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from glacier_prefect.terraform_plan import Diagnostic


class GlacierError(Exception):
    """Base of all errors that Glacier raises on purpose."""


class DefinitionError(GlacierError):
    """The pipeline as written cannot work."""


class DependencyError(DefinitionError, TypeError):
    """`depends_on` holds something that is not a Task."""


class OptionError(DefinitionError, TypeError):
    """An option, executor or keyword that does not exist, or a value that it cannot have."""


class ArgumentsError(DefinitionError, TypeError):
    """A task or pipeline is called with arguments that it cannot take."""


class PlaceholderError(DefinitionError, TypeError):
    """A value that exists only during the run is used while the pipeline is being made."""


class CycleError(DefinitionError, ValueError):
    """Tasks wait for each other; the message has the path of the cycle."""


class NameTakenError(DefinitionError, ValueError):
    """Two different things have one name."""


class PathError(DefinitionError, ValueError):
    """A path, its fields, or a value put into them is not allowed."""


class FormatError(DefinitionError, ValueError):
    """The file format is not known."""


class OverlapError(DefinitionError, ValueError):
    """One location is read and written, or written twice, with no order between the two."""


class UsageError(GlacierError, ValueError):
    """A command line or call that cannot be carried out."""


class ConfigurationError(GlacierError, ValueError):
    """A setting is missing or contradicts another."""


class StateNotShared(ConfigurationError):
    """The state is on this machine only, where it must not be: the machine is gone tomorrow."""


class DataError(GlacierError, ValueError):
    """The data is not what was declared."""


class CheckError(DataError):
    """A check on rows failed; nothing was published."""


class SchemaError(DataError):
    """Columns or types differ from the declared schema."""


class UnreadableError(DataError):
    """A file is damaged, cut short, or of another format."""


class TravelError(DataError, TypeError):
    """A value cannot leave the process."""


class SourceNotFoundError(GlacierError, FileNotFoundError):
    """A source has no data at its location."""


class SourceChangedError(GlacierError, RuntimeError):
    """What is read was replaced each time that it was read."""


class StoreError(GlacierError, OSError):
    """A store refused a call, or did not answer it."""


class BucketNotFoundError(StoreError, SourceNotFoundError):
    """There is no such bucket or container."""


class StoreDenied(StoreError, PermissionError):
    """The credentials in use may not do what was asked, or are no longer good."""


class StoreUnreachable(StoreError, ConnectionError):
    """A store did not answer, or only with errors, until patience ended."""


class SinkExistsError(GlacierError, FileExistsError):
    """A sink with mode 'error' has data at its location already."""


class NotAvailableError(GlacierError, RuntimeError):
    """Something exists in Glacier, but not in this version or installation."""


class RemoteFailed(GlacierError, RuntimeError):
    """A task's run on a service failed, or was cancelled; the message names executor, task, run and its address."""


class RemoteDenied(RemoteFailed):
    """A service that runs tasks does not take the credentials; what was submitted goes on."""


class RemoteUnreachable(GlacierError, ConnectionError):
    """A service that runs tasks does not answer, or only with errors."""


class ApiUnreachable(GlacierError, ConnectionError):
    """A Prefect API is configured and does not answer."""


class ApiRequired(GlacierError, RuntimeError):
    """Something needs a Prefect API and none is configured."""


class PreviewError(GlacierError, PermissionError):
    """A preview would touch the data of its environment, or the environment allows none."""


class DeployRefused(GlacierError, PermissionError):
    """A deploy would touch what is not Glacier's, or delete more than allowed. Nothing was changed."""


class PlanChanged(DeployRefused):
    """What a deploy would do is not what was shown and agreed to before. Nothing was changed."""


class DeployLocked(GlacierError, BlockingIOError):
    """Another deploy of the same environment runs. Nothing was changed."""


class DeployFailed(GlacierError, RuntimeError):
    """Prefect refused a call of a deploy, or did not answer it.

    Attributes:
        refused: Whether Prefect certainly did not do it.
    """

    refused: bool = False


class BuildFailed(GlacierError, RuntimeError):
    """An image with the code could not be built or pushed. Nothing was changed in Prefect."""


class NeedsBootstrap(GlacierError, PermissionError):
    """The infrastructure needs what `glacier bootstrap` has not granted. Nothing was changed.

    Attributes:
        kinds: Kinds of modules that are missing, as in "network".
    """

    kinds: tuple[str, ...] = ()


class TerraformMissing(GlacierError, FileNotFoundError):
    """Neither on PATH nor at the path given is there such a program."""


class TerraformTooOld(GlacierError, RuntimeError):
    """The program is older than what the modules need."""


class TerraformFailed(GlacierError, RuntimeError):
    """A Terraform command failed.

    Attributes:
        diagnostics: What Terraform said, errors and warnings.
    """

    def __init__(self, message: str, diagnostics: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message)
        self.diagnostics = tuple(diagnostics)


class BackendChanged(TerraformFailed):
    """The state is in another place than the configuration says. Nothing was done."""


class StateLocked(TerraformFailed):
    """Someone else works on the same state.

    Attributes:
        lock_id: What `force-unlock` asks for; None if Terraform did not say it.
        who: User and machine that hold the lock, as "user@machine".
        created: When it was taken, by the clock of that machine.
    """

    lock_id: str | None = None
    who: str | None = None
    created: datetime | None = None


class PlanStale(TerraformFailed):
    """The state has changed since the plan was made, or the plan was applied before."""


class ApplyFailed(TerraformFailed):
    """Terraform could not do all of a plan. The state has what it did.

    Attributes:
        done: Addresses that were finished.
        failed: Addresses that were not.
    """

    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class DataLossRefused(GlacierError, PermissionError):
    """The plan destroys or replaces what holds data, and nobody allowed it."""


def nearest(wrong: str, known: Iterable[str]) -> str:
    """Return a hint for a misspelt word: the nearest known one, or all of them.

    Args:
        wrong: What was written.
        known: The words that exist.
    """
    words = sorted(known)
    match = difflib.get_close_matches(wrong, words, n=1)
    if match:
        return f"Did you mean {match[0]!r}?"
    return f"Known: {', '.join(repr(word) for word in words)}." if words else "None exist."

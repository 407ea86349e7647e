"""Which event names the server refuses: facts, as its answers showed them."""

from __future__ import annotations

import re

__all__ = ["BLOCKED", "RESERVED", "RESERVED_MESSAGE", "is_blocked"]

RESERVED = frozenset({"session_start", "session_end"})
RESERVED_MESSAGE = "Event name cannot be one of the reserved names: session_start, session_end"
BLOCKED = "Event name contains blocked content"
_LONGEST = 80
_SUBSTRINGS = (
    # call-back hosts of scanners
    "oastify.com", "oast.me", "burpcollaborator", "interact.sh",
    # SQL
    "pg_sleep", "waitfor delay", "xp_dirtree", "load_file(", "extractvalue(", "updatexml(",
    "dbms_pipe.receive_message", "union select", "exec master.dbo", "declare @",
    "' and '", "')and ",
    # commands and code
    "/bin/sleep", "/bin/bash", "cmd.exe", "wget+http", "wget http", "chmod+777", "chmod 777",
    "processbuilder", "runtime.getruntime", "java.lang.processbuilder", "eval-stdin.php",
    # paths
    "../", "..\\", "%2e%2e", "%u002e%u002e", "/etc/passwd", "/etc/shadow", "phpinfo.php",
    ".git/config", ".env.backup", ".env.bak", "mozi.m", "/setup.cgi?", "/cgi-bin/",
    # templates, markup, headers, and objects of a web framework that were printed
    "${", "%{", "<!doctype", "<xi:include", "xsi:schemalocation", "\r\n", "bcc:",
    "#<article:0x", "#<video:0x", "#<brand:0x",
)  # fmt: skip
_SCANNED_PATH = re.compile(
    r"/[a-z]*\.(?:env|git|json|ya?ml|config|conf|ini|bak|old|sql|xml|svn|aws|ssh)"
    r"|/.*\.php|/(?:wordpress|wp-|phpmyadmin)",
    re.IGNORECASE,
)


def is_blocked(name: str) -> bool:
    """Tell whether the server takes a name for a scanner's, or for too long."""
    units = len(name.encode("utf-16-le", "surrogatepass")) // 2
    if units > _LONGEST or "\n" in name or "\r" in name:
        return True
    lower = name.lower()
    if any(part in lower for part in _SUBSTRINGS):
        return True
    return lower.startswith("/") and _SCANNED_PATH.match(lower) is not None

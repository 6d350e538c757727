"""The few addresses of the hub that models, public sets and `study push` need, served on this machine."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT, OLDER = "c" * 40, "0" * 40
REVISIONS = {"main": COMMIT, COMMIT: COMMIT, "v1": OLDER, OLDER: OLDER}
FILE = re.compile(r"/(?P<id>(datasets/)?[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
API = re.compile(r"/api/(?P<kind>models|datasets)/(?P<id>[^/]+/[^/]+)(?P<rest>/.*)?")


class Hub(ThreadingHTTPServer):
    """A hub of few repositories.

    Attributes:
        repositories: id (`owner/name`, or `datasets/owner/name`) to file name to bytes.
        refusals: owner to the status and the error code that all of the owner's repositories answer with.
        broken: names of files that end after half of their bytes.
        pushed: what was committed, as `repositories`.
        created: bodies of the requests that made a repository.
        visibility: of those, by id.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories, self.pushed, self.refusals = {}, {}, {}
        self.broken, self.created, self.visibility, self.large = set(), [], {}, {}

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does: error codes in a header, commits and sizes in others."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, body=b"", status=200, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), "Content-Type": "application/json"}.items():
            self.send_header(name, headers.pop(name.replace("-", "_"), value))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status, code):
        self.reply({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    def do_GET(self):
        path = unquote(self.path.partition("?")[0])
        for pattern, answer in ((FILE, self.send_part), (API, self.describe)):
            if found := pattern.fullmatch(path):
                place = (
                    found["id"] if pattern is FILE or found["kind"] == "models" else f"datasets/{found['id']}"
                )
                owner = place.removeprefix("datasets/").partition("/")[0]
                if owner in self.server.refusals:
                    return self.refuse(*self.server.refusals[owner])
                if place not in self.server.repositories:
                    return self.refuse(401, "RepoNotFound")
                return answer(place, found)
        return self.refuse(404, "EntryNotFound")

    do_HEAD = do_GET  # noqa: N815

    def send_part(self, place, found):
        revision = REVISIONS.get(found["revision"])
        if revision is None:
            return self.refuse(404, "RevisionNotFound")
        data = self.server.repositories[place].get(found["path"])
        if data is None:
            return self.reply(b"", 404, X_Error_Code="EntryNotFound", X_Repo_Commit=revision)
        tags = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X_Repo_Commit": revision}
        if self.command == "GET" and f"{place}/{found['path']}" in self.server.broken:
            self.reply(data[: len(data) // 2], Content_Length=len(data), **tags)
            self.close_connection = True
            return None
        return self.reply(data, **tags)

    def describe(self, place, found):
        files = self.server.repositories[place]
        kind, revision, folder = (*(found["rest"] or "").lstrip("/").split("/", 2), "", "")[:3]
        if kind in ("tree", "revision") and revision not in REVISIONS:
            return self.refuse(404, "RevisionNotFound")
        if kind == "tree":
            listed = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}  # noqa: S324 (as git names files)
                for name, data in files.items()
                if name.startswith(folder)
            ]
            return self.reply(listed) if listed else self.refuse(404, "EntryNotFound")
        if kind not in ("", "revision"):
            return self.refuse(404, "EntryNotFound")
        siblings = [{"rfilename": name} for name in files]
        return self.reply(
            {
                "id": found["id"],
                "sha": REVISIONS[revision or "main"],
                "private": self.server.visibility.get(place) == "private",
                "tags": [],
                "siblings": siblings,
            }
        )

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.partition("?")[0]
        if not (self.headers["Authorization"] or "").endswith(" hf_good"):
            return self.reply({"error": "Invalid username or password."}, 401)
        if path.endswith("/repos/create"):
            self.server.created.append(made := json.loads(data))
            place = f"datasets/{made['organization']}/{made['name']}"
            self.server.repositories[place], self.server.visibility[place] = {}, made["visibility"]
            self.reply({"url": f"{self.server.address}/{place}"})
        elif path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(data)["files"]]
            modes = {name: "lfs" if name.endswith(".parquet") else "regular" for name in names}
            files = [{"path": name, "uploadMode": modes[name], "shouldIgnore": False} for name in names]
            self.reply({"files": files})
        elif path.endswith("/objects/batch"):
            objects = json.loads(data)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{self.server.address}/large/{one['oid']}"}}
            self.reply({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            self.commit(API.fullmatch(path)["id"], map(json.loads, data.splitlines()))
        elif path.endswith("/validate-yaml"):
            self.reply({"errors": [], "warnings": []})
        else:
            self.refuse(404, "EntryNotFound")
        return None

    def commit(self, place, lines):
        files = self.server.pushed.setdefault(place, {})
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
        self.reply(
            {"commitUrl": f"{self.server.address}/datasets/{place}/commit/{COMMIT}", "commitOid": COMMIT}
        )

    def do_PUT(self):
        self.server.large[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply()

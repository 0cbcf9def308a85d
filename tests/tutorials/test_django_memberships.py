"""Step 8 of docs/tutorial-django.md: a room per user, with everything that the step offers for it."""

import json
import urllib.request

from django_site import create_site
from django_site import sign_in
from django_site import wait_for_subscriptions
from high_templar.testing import Client

MEMBERSHIPS = "8. Permissions from memberships"

# What a site has of its own: a page that shows a user's tasks.
VIEWS = """
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import JsonResponse
from django.shortcuts import render
from projects.models import Task
from projects.rooms import UserRoom


@login_required
def board(request):
    live = {"url": settings.HIGH_TEMPLAR["PUBLIC_URL"], "room": UserRoom(user=request.user.pk)}
    return render(request, "orders/board.html", {"live": live})


@login_required
def tasks(request):
    found = Task.objects.filter(project__members=request.user)
    return JsonResponse({"tasks": [task.as_json() for task in found]})
"""
URLS = """
from mysite.views import Logout
from projects import board
urlpatterns += [path("tasks", board.board), path("tasks.json", board.tasks)]
urlpatterns += [path("logout/", Logout.as_view(next_page="/login/"))]
"""

# And with REST framework, what `TaskViewSet` needs.
SERIALIZERS = """
from projects.models import Task
from rest_framework.serializers import ModelSerializer


class TaskSerializer(ModelSerializer):
    class Meta:
        model = Task
        fields = ["id", "project", "title"]
"""
ROUTES = """
from projects.views import TaskViewSet
from rest_framework.routers import SimpleRouter
router = SimpleRouter()
router.register("rest/tasks", TaskViewSet)
urlpatterns += router.urls
"""

MEMBERS = "members = models.ManyToManyField(settings.AUTH_USER_MODEL)"
MEMBERSHIP = """

class Membership(models.Model):
    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
"""



class Site:
    """The reader's site with step 8, served, and its gateway."""

    def __init__(self, reader, chapters):
        self.reader, self.chapters = reader, chapters
        self.url = f"http://127.0.0.1:{reader.ports[8000]}"
        self.gateway = f"ws://127.0.0.1:{reader.ports[5000]}/ws/"

    def create(self, edit=lambda name, text: text):
        """Does steps 1 to 5 and the files of step 8 up to the room per user."""
        create_site(self.reader, self.chapters)
        for step in ("3. Grant rooms", "4. Publish changes", "5. Subscribe in the page"):
            for block in self.chapters[step]:
                self.reader.carry_out(block)
        [start] = [block for block in self.chapters[MEMBERSHIPS] if "startapp" in block.text]
        self.reader.carry_out(start)
        for block in self.chapters[MEMBERSHIPS]:
            name = block.file and block.file[0]
            if name and name != "projects/tests.py":
                self.reader.carry_out(block)
                self.rewrite(name, lambda text, name=name: edit(name, text))
        self.reader.run("python manage.py makemigrations projects\npython manage.py migrate")

    def serve(self):
        """Starts the site and the gateway, as step 6 says."""
        for block in self.chapters["6. Start and test"]:
            if block.word == "forever":
                self.reader.carry_out(block)
                self.reader.wait_for(5000 if "high_templar" in block.text else 8000)

    def block(self, text):
        """The one block of step 8 with this text."""
        [found] = [block.text for block in self.chapters[MEMBERSHIPS] if text in block.text]
        return found

    def write(self, name, text):
        path = self.reader.site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def rewrite(self, name, change):
        self.write(name, change((self.reader.site / name).read_text()))

    def shell(self, line):
        imports = "from projects.models import *\n"
        self.reader.run(f'python manage.py shell -c "{imports}{line}"')

    def connect(self, name):
        cookies = sign_in(self.url, name)
        return Client(self.gateway, cookies=cookies, headers={"Origin": self.url})

    def call(self, method, path, content=None, headers=()):
        """Asks the site, as a program or a page does."""
        body = None if content is None else content.encode()
        request = urllib.request.Request(self.url + path, body, dict(headers), method=method)
        with urllib.request.urlopen(request) as response:
            return response.read()

    def rest(self, method, path, content=None):
        headers = {"Content-Type": "application/json"}
        return self.call(method, path, None if content is None else json.dumps(content), headers)


def replaced(text, old, new):
    """The text with something else in one place of it."""
    assert text.count(old) == 1, f"{old!r} in {text}"
    return text.replace(old, new)


def between(text, start, end=None):
    """The part of a text that begins with this, until that."""
    begin = text.index(start)
    return text[begin : None if end is None else text.index(end, begin)]


def page_of_tasks(board, block):
    """The page of step 5 for tasks, with the block of step 8 in place of its own lines."""
    board = replaced(board, between(board, "function apply", "function draw"), "")
    apply, rest = between(block, "function apply", "const socket"), between(block, "const socket")
    socket, view = rest.splitlines()
    board = replaced(board, "const socket = new HighTemplar({ url });", apply + socket)
    board = replaced(board, "live(socket, room, { load, apply, onChange: draw });", view)
    for old, new in [
        ("/orders.json", "/tasks.json"),
        ("answer.orders.map((order) => [order.id, order])", "answer.tasks.map((task) => [task.id, task])"),
        ("{ id, item, status }", "{ id, title }"),
        ("${id}: ${item}, ${status}", "${id}: ${title}"),
    ]:
        board = replaced(board, old, new)
    return board


def test_pages_fetch_again_and_every_tab_logs_out(read, open_page):
    site = Site(*read("tutorial-django.md", [8000, 5000, 8002]))
    site.create()
    site.write("projects/board.py", VIEWS)
    site.rewrite("mysite/urls.py", lambda text: text + URLS)
    block = site.block("task.refetch")
    site.rewrite("orders/static/orders/board.js", lambda text: page_of_tasks(text, block))
    site.serve()
    site.shell("Project.objects.create(name='a').members.set([1, 2])")
    site.shell("Task.objects.create(project_id=1, title='Tea')")

    cookies = sign_in(site.url, "ben")
    session = f"sessionid={cookies['sessionid']}"
    tasks = f"{site.url}/tasks"
    with open_page(tasks, session) as one, open_page(tasks, session) as other:
        for tab in (one, other):
            tab.sees("Connection: open")
            tab.sees("1: Tea")
        wait_for_subscriptions(site.reader, 2)
        site.shell("Task.objects.create(project_id=1, title='Coffee')")
        for tab in (one, other):
            tab.sees("2: Coffee")
        # What a user who left may not see goes from the page, and comes back with the user.
        site.shell("Project.objects.get().members.remove(2)")
        for tab in (one, other):
            tab.loses("1: Tea")
        site.shell("Project.objects.get().members.add(2)")
        for tab in (one, other):
            tab.sees("2: Coffee")

        site.call(
            "POST",
            "/logout/",
            "",
            {
                "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
                "X-CSRFToken": cookies["csrftoken"],
            },
        )
        for tab in (one, other):
            tab.sees("Connection: refused")


def test_rest_framework_publishes_once(read):
    site = Site(*read("tutorial-django.md", [8000, 5000, 8002]))

    def edit(name, text):
        """What the document says: not both on one model."""
        call = "publish_on_save(Task, rooms=rooms_of_members, data=Task.as_json)\n"
        return replaced(text, call, "") if name == "projects/signals.py" and call in text else text

    site.create(edit)
    site.reader.run("pip install -q djangorestframework")
    site.write("projects/serializers.py", SERIALIZERS)
    site.rewrite("mysite/urls.py", lambda text: text + ROUTES)
    site.rewrite("mysite/settings.py", lambda text: text + 'INSTALLED_APPS += ["rest_framework"]\n')
    site.serve()
    site.shell("Project.objects.create(name='a').members.set([1])")
    with site.connect("anna") as anna, site.connect("ben") as ben:
        anna.subscribe({"target": "user", "user": 1})
        ben.subscribe({"target": "user", "user": 2})
        task = {"id": 1, "project": 1, "title": "Tea"}
        site.rest("POST", "/rest/tasks/", {"project": 1, "title": "Tea"})
        assert anna.next().data == task
        site.rest("PATCH", "/rest/tasks/1/", {"title": "Coffee"})
        assert anna.next().data == {**task, "title": "Coffee"}
        site.rest("DELETE", "/rest/tasks/1/")
        assert anna.next().data == {"id": 1, "deleted": True}
        assert anna.nothing_heard()
        assert ben.nothing_heard()


def test_memberships_of_a_model_of_their_own(read):
    site = Site(*read("tutorial-django.md", [8000, 5000, 8002]))

    def edit(name, text):
        if name == "projects/models.py":
            through = MEMBERS.replace("MODEL)", 'MODEL, through="Membership")')
            return replaced(text, MEMBERS, through) + MEMBERSHIP
        if name == "projects/signals.py" and "@receiver" in text:
            # "Replace the receiver with":
            text = replaced(text, between(text, "@receiver"), site.block("    Membership,"))
            imported = "from projects.models import "
            return replaced(text, f"{imported}Project\n", f"{imported}Membership\n")
        return text

    site.create(edit)
    site.serve()
    site.shell("Project.objects.create(name='a')")
    with site.connect("anna") as anna, site.connect("ben") as ben:
        anna.subscribe({"target": "user", "user": 1})
        ben.subscribe({"target": "user", "user": 2})
        site.shell("Membership.objects.create(project_id=1, user_id=1)")
        assert anna.next().data == {"refetch": True}
        site.shell("Task.objects.create(project_id=1, title='Tea')")
        assert anna.next().data == {"id": 1, "title": "Tea"}
        assert ben.nothing_heard()
        # In place of anna.
        site.shell("m = Membership.objects.get(); m.user_id = 2; m.save()")
        assert anna.next().data == {"refetch": True}
        assert ben.next().data == {"refetch": True}
        site.shell("Task.objects.create(project_id=1, title='Coffee')")
        assert ben.next().data == {"id": 2, "title": "Coffee"}
        site.shell("Membership.objects.get().delete()")
        assert ben.next().data == {"refetch": True}
        site.shell("Task.objects.create(project_id=1, title='Juice')")
        assert anna.nothing_heard()
        assert ben.nothing_heard()

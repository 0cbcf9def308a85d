"""docs/tutorial-django.md, from an empty folder to a live page."""

import re
import time

from django_site import create_site
from django_site import sign_in
from django_site import wait_for_subscriptions
from high_templar.testing import Client

SHELL = """
from django.contrib.auth.models import User
from orders.models import Order
"""

PRODUCTION = ("mysite/production.py", False)
SHORT = "Short version, for an existing site"


def follow_short_version(reader, chapters, app, edit_page=lambda snippet: snippet):
    """Follows the short version for one of its two apps, and waits for the site and the gateway."""
    typed = [block for block in chapters[SHORT] if not is_of_another_app(block, app)]
    files = {block.file[0] for block in typed if block.file}
    assert {f"{app}/rooms.py", f"{app}/models.py"} <= files
    [snippet] = [block for block in typed if block.language == "html"]
    template = reader.site / "orders/templates/orders/board.html"
    page = template.read_text()
    assert "<h1>" in page
    template.write_text(page.replace("<h1>", f"{edit_page(reader.text(snippet.text))}<h1>"))

    printed = ""
    for block in typed:
        printed += reader.carry_out(block)
        if block.word == "forever":
            for port in (8000, 5000, 8002):
                reader.wait_for(port)
    assert "Everything works." in printed


def rooms_of(user, site, gateway):
    """What a user may enter now; nothing while the development server restarts."""
    try:
        with Client(gateway, cookies=sign_in(site, user), headers={"Origin": site}) as client:
            return client.allowed_rooms
    except (OSError, AssertionError):
        return []


def is_of_another_app(block, app):
    """Whether this is a file of an app that is neither this one nor the project itself."""
    return bool(block.file) and block.file[0].split("/")[0] not in (app, "mysite")


def test_short_version_on_an_existing_site(read, open_page):
    reader, chapters = read("tutorial-django.md", [8000, 5000, 8002])
    site = f"http://127.0.0.1:{reader.ports[8000]}"
    create_site(reader, chapters)
    follow_short_version(reader, chapters, "orders")

    with open_page(site, "ben") as page:
        wait_for_subscriptions(reader, 1)
        create = "Order.objects.create(customer_id=2, item='Coffee')"
        reader.run(f'python manage.py shell -c "{SHELL}{create}"')
        page.sees('"item":"Coffee"')


def test_short_version_with_memberships(read, open_page):
    reader, chapters = read("tutorial-django.md", [8000, 5000, 8002])
    site = f"http://127.0.0.1:{reader.ports[8000]}"
    create_site(reader, chapters)
    memberships = chapters["8. Permissions from memberships"]
    start = next(block for block in memberships if block.language == "sh")
    files = {block.file: block for block in reversed(memberships)}
    for block in (start, files["projects/models.py", False], files["mysite/settings.py", True]):
        reader.carry_out(block)
    reader.run("python manage.py makemigrations projects\npython manage.py migrate")

    def subscribe_to_user(snippet):
        assert '{ target: "order", customer: {{' in snippet
        return snippet.replace('{ target: "order", customer: {{', '{ target: "user", user: {{')

    follow_short_version(reader, chapters, "projects", subscribe_to_user)

    def shell(line):
        imports = "from projects.models import Project, Task\n"
        reader.run(f'python manage.py shell -c "{imports}{line}"')

    shell("Project.objects.create(name='a').members.set([1, 2])")
    gateway = f"ws://127.0.0.1:{reader.ports[5000]}/ws/"
    with (
        Client(gateway, cookies=sign_in(site, "anna"), headers={"Origin": site}) as anna,
        open_page(site, "ben") as ben,
    ):
        anna.subscribe({"target": "user", "user": 1})
        wait_for_subscriptions(reader, 2)
        shell("Task.objects.create(project_id=1, title='Tea')")
        assert anna.next().data == {"id": 1, "title": "Tea"}
        ben.sees('{"id":1,"title":"Tea"}')

        shell("Project.objects.get().members.remove(1)")
        shell("Task.objects.create(project_id=1, title='Coffee')")
        ben.sees('{"id":2,"title":"Coffee"}')
        assert anna.nothing_heard()


def test_list_that_a_template_renders(read, open_page):
    reader, chapters = read("tutorial-django.md", [8000, 5000, 8002])
    site = f"http://127.0.0.1:{reader.ports[8000]}"
    create_site(reader, chapters)
    subscribe = chapters["5. Subscribe in the page"]
    for block in [*chapters["3. Grant rooms"], *chapters["4. Publish changes"], *subscribe]:
        reader.carry_out(block)
    [markup] = [block.text for block in subscribe if block.language == "html" and not block.file]
    edit(
        reader.site / "orders/templates/orders/board.html",
        {'<ul id="orders"></ul>': markup, "orders/board.js": "orders/page.js"},
    )
    found = '"orders": Order.objects.filter(customer=request.user)'
    edit(reader.site / "orders/views.py", {'{"live": live}': f'{{"live": live, {found}}}'})
    for block in chapters["6. Start and test"]:
        reader.carry_out(block)
        if block.word == "forever":
            reader.wait_for(5000 if "high_templar" in block.text else 8000)

    def shell(line):
        imports = f"{SHELL}from django.contrib.sessions.models import Session\n"
        reader.run(f'python manage.py shell -c "{imports}{line}"')

    with open_page(site, "ben") as page:
        page.sees("1: Tea, new")
        wait_for_subscriptions(reader, 1)
        shell("Order.objects.create(customer_id=2, item='Coffee')")
        page.sees("2: Coffee, new")
        shell("Order.objects.get(pk=2).delete()")
        page.loses("2: Coffee, new")

        # A user who has lost access: the page is left, not frozen.
        shell("Session.objects.all().delete()\nOrder.objects.get(pk=1).save()")
        page.sees("Username")
        page.loses("1: Tea, new")


def edit(path, replacements):
    """Replaces texts that a file has."""
    text = path.read_text()
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def test_a_saved_order_is_on_its_customers_page(read, open_page):
    reader, chapters = read("tutorial-django.md", [8000, 5000, 8002])
    site = f"http://127.0.0.1:{reader.ports[8000]}"
    gateway = f"ws://127.0.0.1:{reader.ports[5000]}/ws/"
    printed = {}
    for heading, blocks in chapters.items():
        if heading.startswith("9."):
            break
        if heading == SHORT:
            continue
        for block in blocks:
            said = reader.carry_out(block)
            printed[heading[:2]] = printed.get(heading[:2], "") + said
            if block.word == "forever":
                reader.wait_for(5000 if "high_templar" in block.text else 8000)
    assert "System check identified no issues" in printed["3."]
    assert "Everything works." in printed["6."]
    assert re.search(r"Ran 3 tests .*\n\nOK", printed["7."])
    # With a room per project, and with a room per user.
    assert len(re.findall(r"Ran 1 test .*\n\nOK", printed["8."])) == 2

    [production] = [block for block in chapters["9. In production"] if block.file == PRODUCTION]
    reader.carry_out(production)
    said = reader.run(
        "export DJANGO_SETTINGS_MODULE=mysite.production\n"
        "python manage.py check\n"
        # The site that is running is not that one.
        "python manage.py high_templar check || true\n"
        "unset DJANGO_SETTINGS_MODULE"
    )
    assert "System check identified no issues" in said
    assert "ok   configuration" in said, said

    def shell(line):
        reader.run(f'python manage.py shell -c "{SHELL}{line}"')

    origin = {"Origin": site}
    # The development server restarts itself after the last change of a file.
    reloaded = time.monotonic() + 30
    while {"target": "user", "user": 2} not in rooms_of("ben", site, gateway):
        assert time.monotonic() < reloaded, "the server has not restarted"
        time.sleep(0.2)
    with (
        Client(gateway, cookies=sign_in(site, "ben"), headers=origin) as ben,
        Client(gateway, cookies=sign_in(site, "anna"), headers=origin) as anna,
        Client(gateway, headers=origin) as nobody,
        open_page(site, "ben") as page,
    ):
        his, hers = {"target": "order", "customer": 2}, {"target": "order", "customer": "*"}
        assert ben.allowed_rooms == [his, {"target": "user", "user": 2}]
        assert anna.allowed_rooms == [hers, {"target": "user", "user": 1}]
        assert not nobody.is_authorized
        ben.subscribe(his)
        anna.subscribe(hers)
        page.sees("Connection: open")
        page.sees("1: Tea, new")

        shell("Order.objects.create(customer_id=2, item='Coffee')")
        told = {"id": 2, "item": "Coffee", "status": "new"}
        assert ben.next().data == told
        assert anna.next().data == told
        page.sees("2: Coffee, new")

        shell("Order.objects.create(customer_id=1, item='Juice')")
        assert anna.next().data["item"] == "Juice"
        assert ben.nothing_heard()

        shell("Order.objects.get(pk=2).delete()")
        assert ben.next().data == {"id": 2, "deleted": True}
        page.loses("2: Coffee, new")

    # The page does not wait for the gateway.
    reader.stop("high_templar")
    with open_page(site, "ben") as page:
        page.sees("1: Tea, new")

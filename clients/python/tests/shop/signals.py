"""What is published when something is saved."""

from high_templar.django import publish_on_save
from shop.models import Task
from shop.rooms import ProjectRoom

tasks = publish_on_save(
    Task,
    rooms=lambda task: ProjectRoom(project=task.project_id),
    data=lambda task: {"id": task.pk, "title": task.title},
)

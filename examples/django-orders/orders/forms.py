"""What can be filled in."""

from typing import Any

from django import forms

from orders.models import Branch
from orders.models import Channel
from orders.models import Customer
from orders.models import Order
from orders.models import User
from orders.models import Message


class OrderForm(forms.ModelForm):
    """An order, within what the user may do."""

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if user.branch_id:
            self._narrow("branch", Branch.objects.filter(pk=user.branch_id))
        if user.customer_id:
            self._narrow("customer", Customer.objects.filter(pk=user.customer_id))

    def _narrow(self, name: str, choices: Any) -> None:
        field = self.fields[name]
        field.queryset, field.empty_label, field.initial = choices, None, choices.first()

    class Meta:
        model = Order
        fields = ["product", "quantity", "customer", "branch"]
        widgets = {"quantity": forms.NumberInput(attrs={"min": 1, "inputmode": "numeric"})}


class MessageForm(forms.ModelForm):
    """Something to say, in a channel that the user may enter."""

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not user.works_here:
            self.fields["channel"].choices = [(Channel.EVERYBODY, Channel.EVERYBODY.label)]

    class Meta:
        model = Message
        fields = ["channel", "text"]

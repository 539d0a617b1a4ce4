"""The strictness table: messages, how they are asked, and the page that is made of the answers."""

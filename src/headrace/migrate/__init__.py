"""`headrace migrate`: another server's command or file as a command of ours, and what differs.

plan       what is found out of it, and the command that comes of that
servers    command lines of gunicorn, uvicorn, granian and waitress, whose flags ours knows
uwsgi      uWSGI's options, on its command line and in its ini files
command    which server is meant; printing
"""

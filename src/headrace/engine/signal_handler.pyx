"""Handlers of signals whose place --timeout's exception does not take: see signal_handler.pyi."""

from cpython.object cimport PyObject

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        PyObject *async_exc
        unsigned long thread_id
    PyThreadState *PyThreadState_Get()
    int PyThreadState_SetAsyncExc(unsigned long ident, PyObject *exception)


cdef class SignalHandler:
    cdef object handler

    def __init__(self, handler):
        self.handler = handler

    def __call__(self, number, frame):
        cdef PyThreadState *state = PyThreadState_Get()
        cdef unsigned long ident = state.thread_id
        cdef object pending = None if state.async_exc is NULL else <object>state.async_exc
        if pending is not None:
            PyThreadState_SetAsyncExc(ident, NULL)
        self.handler(number, frame)
        if pending is not None:
            PyThreadState_SetAsyncExc(ident, <PyObject *>pending)

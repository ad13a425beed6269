import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** A server whose pool of threads answers each client once, keeps the socket, and is idle then; prints its port. */
public class Pool {
    static final List<Socket> kept = new CopyOnWriteArrayList<>();

    static void answer(Socket client) {
        try {
            client.getInputStream().read(new byte[64]);
            client.getOutputStream().write("ok\n".getBytes());
            kept.add(client);
        } catch (java.io.IOException error) {
            throw new java.io.UncheckedIOException(error);
        }
    }

    public static void main(String[] args) throws java.io.IOException {
        ExecutorService pool = Executors.newFixedThreadPool(Integer.parseInt(args[0]));
        ServerSocket listener = new ServerSocket(0, 64, InetAddress.getLoopbackAddress());
        System.out.println(listener.getLocalPort());
        while (true) {
            Socket client = listener.accept();
            pool.execute(() -> answer(client));
        }
    }
}
